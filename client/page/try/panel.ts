/**
 * `<commonweight-try>`: lets anyone use a session's network, on their own machine. Loaded when somebody asks for it; what
 * they draw or type stays in this tab.
 */

import { html, LitElement, nothing, type TemplateResult } from "lit";
import { formatCount, formatLoss, formatShare } from "../format.ts";
import { token } from "../token.ts";
import type { WeightsInfo } from "./messages.ts";
import type { Answer } from "./model.ts";
import "./pad.ts";
import type { PadElement } from "./pad.ts";
import { Predictor } from "./predictor.ts";
import type { Field, ImageSubject, Subject, TableSubject } from "./subject.ts";

/** Values by input as the data hold them, flat. */
type Stored = Readonly<Record<string, readonly number[]>>;

/** Classes that are shown, and that are read out. */
const SHOWN = 10;
const SPOKEN = 3;

class TryElement extends LitElement {
  static override properties = {
    session: { type: String },
    isFinal: { type: Boolean },
    subject: { state: true },
    weights: { state: true },
    answer: { state: true },
    problem: { state: true },
    busy: { state: true },
  };

  /** Session id; set once. */
  declare session: string;
  /** Whether the weights change no more. */
  declare isFinal: boolean;
  declare subject: Subject | null;
  declare weights: WeightsInfo | null;
  declare answer: Answer | null;
  declare problem: string;
  /** Weights are being fetched. */
  declare busy: boolean;

  #predictor: Predictor | null = null;
  #asked: Stored | null = null;

  constructor() {
    super();
    this.session = "";
    this.isFinal = false;
    this.subject = null;
    this.weights = null;
    this.answer = null;
    this.problem = "";
    this.busy = true;
  }

  /** The page's own stylesheet applies: no shadow tree. */
  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  protected override firstUpdated(): void {
    void this.#open();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#predictor?.dispose();
    this.#predictor = null;
  }

  async #open(): Promise<void> {
    await this.#attempt(async () => {
      this.#predictor ??= new Predictor();
      const request = { type: "open", server: location.origin, session: this.session, token } as const;
      const { subject, weights } = await this.#predictor.ask(request);
      this.subject = subject;
      this.weights = weights;
    });
    this.busy = false;
  }

  readonly #renew = async (): Promise<void> => {
    this.busy = true;
    await this.#attempt(async () => {
      this.weights = (await this.#predictor?.ask({ type: "renew" })) ?? null;
      await this.#ask(this.#asked);
    });
    this.busy = false;
  };

  /** What goes wrong is said on the page. */
  async #attempt(work: () => Promise<void>): Promise<void> {
    this.problem = "";
    try {
      await work();
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
  }

  /** Asks about a sample, or about none any more. */
  async #ask(stored: Stored | null): Promise<void> {
    this.#asked = stored;
    if (stored === null) {
      this.answer = null;
      return;
    }
    const answer = await this.#predictor?.ask({ type: "answer", stored });
    // A drawing that was cleared meanwhile has no answer any more.
    if (this.#asked === stored) this.answer = answer ?? null;
  }

  readonly #onDrawn = ({ detail }: CustomEvent<Uint8Array | null>): void => {
    const { subject } = this;
    if (subject?.kind !== "image") return;
    void this.#attempt(() => this.#ask(detail === null ? null : { [subject.input]: Array.from(detail) }));
  };

  readonly #onSubmit = (event: SubmitEvent): void => {
    event.preventDefault();
    const { subject } = this;
    if (subject?.kind !== "table") return;
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const stored: Record<string, number[]> = {};
    for (const [index, { input }] of subject.fields.entries()) {
      stored[input] = [...(stored[input] ?? []), Number(form.get(`field-${index}`))];
    }
    void this.#attempt(() => this.#ask(stored));
  };

  readonly #clear = (): void => this.querySelector<PadElement>("commonweight-pad")?.clear();

  protected override render(): TemplateResult {
    return html`
      ${this.#renderWeights()}
      ${this.problem === "" ? nothing : html`<p class="alarm" role="alert">It did not work: ${this.problem}.</p>`}
      ${this.subject === null ? nothing : this.#renderSubject(this.subject)}
    `;
  }

  #renderWeights(): TemplateResult {
    if (this.weights === null) return html`<p class="quiet">${this.busy ? "Fetching the network…" : ""}</p>`;
    const { step, isBest } = this.weights;
    return html`<p class="quiet">
      It runs on your machine, with the ${isBest ? "best" : "latest"} weights${this.isFinal ? "" : " so far"}, of step ${formatCount(step)}. What you
      enter stays in this tab.
    </p>`;
  }

  #renderSubject(subject: Subject): TemplateResult {
    switch (subject.kind) {
      case "image":
        return this.#renderImage(subject);
      case "table":
        return this.#renderTable(subject);
      case "none":
        return html`<p>This network cannot be tried here: ${subject.why}.</p>`;
      default:
        return subject satisfies never;
    }
  }

  #renderImage({ side }: ImageSubject): TemplateResult {
    return html`
      <div class="trial">
        <div>
          <commonweight-pad .side=${side} @drawn=${this.#onDrawn}></commonweight-pad>
          <div class="actions">
            <button type="button" data-action="clear" @click=${this.#clear}>Clear</button>
            ${this.#renderRenew()}
          </div>
        </div>
        ${this.#renderAnswer("Draw something: the network says what it sees.", "It sees")}
      </div>
    `;
  }

  #renderTable({ fields }: TableSubject): TemplateResult {
    const input = ({ label, isWhole }: Field, index: number): TemplateResult => html`
      <label>${label}
        <input type="number" name=${`field-${index}`} step=${isWhole ? "1" : "any"} value="0" required />
      </label>
    `;
    return html`
      <div class="trial">
        <form @submit=${this.#onSubmit}>
          <p class="quiet small">Values as the session's data hold them.</p>
          <div class="fields">${fields.map(input)}</div>
          <div class="actions">
            <button type="submit" class="primary" data-action="predict">Ask the network</button>
            ${this.#renderRenew()}
          </div>
        </form>
        ${this.#renderAnswer("Fill in the numbers: the network says what it makes of them.", "It says class")}
      </div>
    `;
  }

  #renderRenew(): TemplateResult | typeof nothing {
    if (this.isFinal) return nothing;
    return html`<button type="button" data-action="renew" ?disabled=${this.busy} @click=${this.#renew}>
      Fetch newer weights
    </button>`;
  }

  /** `verb` introduces the likeliest class. */
  #renderAnswer(invitation: string, verb: string): TemplateResult {
    const { answer } = this;
    return html`
      <div class="answer">
        <p role="status" data-figure="answer">${answer === null ? invitation : readAnswer(answer, verb)}</p>
        ${answer === null || answer.kind === "numbers" ? nothing : renderBars(answer.probabilities)}
      </div>
    `;
  }
}

/** Classes with their probabilities, the likeliest first. */
function ranked(probabilities: readonly number[]): { name: number; probability: number }[] {
  return probabilities
    .map((probability, name) => ({ name, probability }))
    .sort((a, b) => b.probability - a.probability);
}

/** The answer in words. */
function readAnswer(answer: Answer, verb: string): string {
  if (answer.kind === "numbers") return `It answers ${answer.values.map(formatLoss).join(", ")}.`;
  if (answer.kind === "probabilities") {
    const say = (probability: number, index: number): string =>
      answer.probabilities.length === 1 ? formatShare(probability) : `${index}: ${formatShare(probability)}`;
    return `Probability of yes: ${answer.probabilities.map(say).join(", ")}.`;
  }
  const [first, ...others] = ranked(answer.probabilities).slice(0, SPOKEN);
  if (first === undefined) return "It has no classes to choose from.";
  const rest = others.map(({ name, probability }) => `${name} (${formatShare(probability)})`).join(", then ");
  return `${verb} ${first.name} (${formatShare(first.probability)})${rest === "" ? "" : `, then ${rest}`}.`;
}

/** In the order of the classes, so that a bar keeps its place; of many classes the likeliest. */
function renderBars(probabilities: readonly number[]): TemplateResult {
  const shown = ranked(probabilities)
    .slice(0, SHOWN)
    .sort((a, b) => a.name - b.name);
  const best = Math.max(...probabilities);
  return html`
    <table class="bars">
      <caption class="unseen">Probability of each class</caption>
      <tbody>
        ${shown.map(
          ({ name, probability }) => html`<tr class=${probability === best ? "best" : ""}>
            <th scope="row">${name}</th>
            <td class="bar">
              <svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">
                <rect width=${probability * 100} height="1"></rect>
              </svg>
            </td>
            <td class="number">${formatShare(probability)}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  `;
}

customElements.define("commonweight-try", TryElement);
