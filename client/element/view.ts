/**
 * The element's shadow tree: one card, built once, whose texts change. Made by DOM calls and a constructable stylesheet, so that
 * it works under a content security policy without `style-src`, and everything from a session is text. Light or dark as the page is.
 */

const CSS = `
:host {
  display: block;
  max-width: 32rem;
  font: 1rem / 1.5 system-ui, sans-serif;
  color: var(--commonweight-ink, light-dark(#1c1f23, #e9e7e2));
}
:host([hidden]), [hidden] { display: none !important; }
section {
  padding: 1rem;
  border: 1px solid var(--commonweight-line, light-dark(#dedbd3, #33383e));
  border-radius: 0.75rem;
  background: var(--commonweight-card, light-dark(#ffffff, #1e2125));
}
p { margin: 0 0 0.5rem; overflow-wrap: anywhere; unicode-bidi: isolate; }
.title { font-weight: 600; }
.quiet { color: var(--commonweight-quiet, light-dark(#5d646c, #a0a6ad)); font-size: 0.875rem; }
progress { width: 100%; accent-color: var(--commonweight-accent, light-dark(#0b6e5b, #4cc9ac)); }
.actions { display: flex; flex-wrap: wrap; gap: 0.5rem; }
button {
  font: inherit;
  min-height: 2.75rem;
  padding: 0.25rem 1rem;
  border: 1px solid currentcolor;
  border-radius: 0.5rem;
  background: transparent;
  color: inherit;
  cursor: pointer;
}
button.primary {
  border-color: transparent;
  background: var(--commonweight-accent, light-dark(#0b6e5b, #4cc9ac));
  color: var(--commonweight-accent-ink, light-dark(#ffffff, #08231d));
}
button:disabled { opacity: 0.6; cursor: default; }
button:focus-visible { outline: 3px solid var(--commonweight-accent, light-dark(#0b6e5b, #4cc9ac)); outline-offset: 2px; }
`;

/** Everything that is shown; the view draws it and knows nothing else. */
export interface Card {
  readonly title: string;
  /** Announced by screen readers when it changes: a state, never a figure. */
  readonly status: string;
  /** Figures, or what taking part means. */
  readonly detail: string;
  readonly step: number;
  readonly totalSteps: number;
  /** Which buttons there are. */
  readonly actions: "none" | "join" | "joining" | "pause" | "resume";
}

export type Action = "join" | "pause" | "resume" | "leave";

/** For each button, its words and when it is there. */
const BUTTONS: Readonly<Record<Action, { readonly label: string; readonly shownFor: readonly Card["actions"][] }>> = {
  join: { label: "Take part", shownFor: ["join"] },
  pause: { label: "Pause", shownFor: ["pause"] },
  resume: { label: "Resume", shownFor: ["resume"] },
  leave: { label: "Leave", shownFor: ["joining", "pause", "resume"] },
};

let sheet: CSSStyleSheet | null = null;

/** One stylesheet for all elements of the page. */
function sharedSheet(): CSSStyleSheet {
  if (sheet === null) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}

/** An element within `parent`; each is a `part`, for the page's own styles. */
function add<Tag extends keyof HTMLElementTagNameMap>(
  parent: Node,
  tag: Tag,
  part: string,
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  element.setAttribute("part", part);
  element.className = part;
  parent.appendChild(element);
  return element;
}

/** Leaves the node alone where nothing changed: live regions announce what is written, also the same text again. */
function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Builds the tree; the function returned draws a card. */
export function createView(root: ShadowRoot, act: (action: Action) => void): (card: Card) => void {
  root.adoptedStyleSheets = [sharedSheet()];
  const section = add(root, "section", "card");
  section.setAttribute("aria-label", "Take part in training a neural network");
  const title = add(section, "p", "title");
  const bar = add(section, "progress", "progress");
  bar.setAttribute("aria-label", "Steps done");
  const status = add(section, "p", "status");
  status.setAttribute("role", "status");
  const detail = add(section, "p", "quiet");
  const row = add(section, "div", "actions");
  const buttons = Object.entries(BUTTONS).map(([action, { label, shownFor }]) => {
    const button = add(row, "button", action === "join" ? "primary" : "button");
    button.type = "button";
    button.dataset.action = action;
    button.textContent = label;
    button.addEventListener("click", () => act(action as Action));
    return { button, shownFor };
  });

  return (card) => {
    write(title, card.title);
    write(status, card.status);
    write(detail, card.detail);
    bar.hidden = card.totalSteps === 0;
    bar.max = Math.max(1, card.totalSteps);
    bar.value = card.step;
    const focused = root.activeElement;
    for (const { button, shownFor } of buttons) button.hidden = !shownFor.includes(card.actions);
    // A button that disappears under the keyboard hands its focus to the one in its place.
    if (focused instanceof HTMLElement && focused.hidden) buttons.find(({ button }) => !button.hidden)?.button.focus();
  };
}
