/**
 * The page before the session's page, where joining takes a check: shows Cloudflare Turnstile's widget, hands its response to the
 * coordinator, and goes on to the session with the token that it gets. It computes nothing and joins nothing.
 */

import { CHECK_ACTION } from "../../shared/session/access.ts";

/** What is used of https://developers.cloudflare.com/turnstile/get-started/client-side-rendering/. */
interface Turnstile {
  render(
    place: HTMLElement,
    options: {
      readonly sitekey: string;
      readonly action: string;
      readonly cData: string;
      readonly callback: (response: string) => void;
      readonly "error-callback": (code: string) => void;
      readonly "unsupported-callback": () => void;
    },
  ): string;
  reset(widget: string): void;
}

declare global {
  var turnstile: Turnstile | undefined;
  /** Called by Turnstile's script once it is ready. */
  var onTurnstile: (() => void) | undefined;
}

const SCRIPT = "https://challenges.cloudflare.com/turnstile/v0/api.js?render=explicit&onload=onTurnstile";

const session = location.pathname.replace(/\/door$/, "");
const id = session.split("/").at(-1) ?? "";
const checkUrl = `/api/sessions/${encodeURIComponent(id)}/check`;

function find<Kind extends HTMLElement>(name: string, kind: new () => Kind): Kind {
  const found = document.getElementById(name);
  if (found instanceof kind) return found;
  throw new Error(`the page has no ${name}`);
}

const problem = find("problem", HTMLParagraphElement);
const again = find("again", HTMLButtonElement);

function fail(text: string, retry: () => void): void {
  problem.textContent = text;
  again.hidden = false;
  again.onclick = () => {
    again.hidden = true;
    problem.textContent = "";
    retry();
  };
}

/** The coordinator's answer. Throws Error with its own words where it refuses. */
async function ask<T>(init: RequestInit = {}): Promise<T> {
  const response = await fetch(checkUrl, init);
  const answer: unknown = await response.json();
  if (response.ok) return answer as T;
  const { error } = answer as { readonly error: { readonly message: string } };
  throw new Error(error.message);
}

const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function goIn(response: string, reset: () => void): Promise<void> {
  try {
    const { token } = await ask<{ readonly token: string }>({ method: "POST", body: JSON.stringify({ response }) });
    location.replace(`${session}${location.search}#join=${token}`);
  } catch (error) {
    fail(wordsOf(error), reset);
  }
}

function show(turnstile: Turnstile, sitekey: string): void {
  const reset = (): void => turnstile.reset(widget);
  const widget = turnstile.render(find("widget", HTMLDivElement), {
    sitekey,
    action: CHECK_ACTION,
    cData: id,
    callback: (response) => void goIn(response, reset),
    "unsupported-callback": () => fail("This browser is too old for the check.", reset),
    "error-callback": (code) => fail(`The check did not work in this browser (Turnstile's code ${code}).`, reset),
  });
}

async function start(): Promise<void> {
  try {
    const { siteKey } = await ask<{ readonly siteKey: string }>();
    globalThis.onTurnstile = () => {
      if (globalThis.turnstile !== undefined) show(globalThis.turnstile, siteKey);
    };
    const script = document.createElement("script");
    script.src = SCRIPT;
    script.onerror = () =>
      fail(
        "The check could not be loaded from challenges.cloudflare.com: something may block it here.",
        () => void start(),
      );
    document.head.append(script);
  } catch (error) {
    fail(wordsOf(error), () => void start());
  }
}

find("back", HTMLAnchorElement).href = session + location.search;
void start();
