/**
 * `<commonweight-session href="https://host/s/<id>">`: a card with a button, on a page of any origin. Importing this module
 * defines the element. Shown, it asks the coordinator for the session's title and progress; nothing computes, and no engine or
 * data is loaded, before the button is pressed. It leaves when it is taken off the page.
 *
 * Attributes: `href`, the session's link, or its bare id where the page comes from the coordinator; `engine` and `share`, as
 * `joinTraining` takes them. Styled by `::part(card | title | progress | status | quiet | primary | button)` and the custom
 * properties `--commonweight-ink`, `-quiet`, `-line`, `-card`, `-accent` and `-accent-ink`.
 */

import { parseAddress } from "../core/address.ts";
import { asTrainingError } from "../core/errors.ts";
import {
  type EngineChoice,
  joinTraining,
  type Summary,
  TrainingError,
  type TrainingErrorCode,
  type TrainingEvent,
  type TrainingEvents,
  type TrainingHandle,
  type VolunteerStatus,
} from "../index.ts";
import { ENDS, NOTHING_YET, readDescription, type SessionDescription } from "./description.ts";
import { type Action, type Card, createView } from "./view.ts";

export type { EngineChoice, TrainingError, TrainingEvents, TrainingHandle } from "../index.ts";

/** What the page hears from the element as `CustomEvent`s, by type, with their `detail`. */
export type CommonweightSessionEvents = Pick<TrainingEvents, "progress" | "status" | "finished" | "error">;

const RELAYED: Readonly<Record<keyof CommonweightSessionEvents, true>> = {
  progress: true,
  status: true,
  finished: true,
  error: true,
};

const ENGINES: Readonly<Record<EngineChoice, true>> = { auto: true, webgpu: true, wasm: true };

/** What people read; the states that alternate many times a second read alike. */
const STATUSES: Readonly<Record<VolunteerStatus, string>> = {
  joining: "Getting ready…",
  connecting: "Connecting…",
  loading: "Taking part",
  waiting: "Taking part",
  working: "Taking part",
  paused: "Paused",
  finished: "The training is over. Thank you!",
  left: "",
  failed: "This browser could not go on.",
};

/** Nothing that a button could do would help. */
const HOPELESS: ReadonlySet<TrainingErrorCode> = new Set(["unknown-session", "invalid-argument", "finished"]);

const INVITATION =
  "Your browser computes for this training as long as this page is open. Nothing is computed before you press the button.";

const figure = (value: number): string => Math.round(value).toLocaleString("en");

/** How it ended, for people. */
function farewell({ outcome, reason, contributed }: Summary): string {
  const thanks = `Thank you: this browser computed ${figure(contributed.samples)} samples.`;
  switch (outcome) {
    case "finished":
      return `The training is finished. ${thanks}`;
    case "stopped":
      return `The training was stopped. ${thanks}`;
    case "failed":
      return `The training failed: ${reason}. ${thanks}`;
    case "left":
      return `You have left. ${thanks}`;
    default:
      return outcome satisfies never;
  }
}

/** The element. See the module's description for attributes, parts and events. */
export class CommonweightSession extends HTMLElement {
  static readonly observedAttributes: readonly string[] = ["href"];

  readonly #show: (card: Card) => void;
  #session: SessionDescription | null = null;
  #problem: TrainingError | null = null;
  #ending = "";
  #status: VolunteerStatus = "left";
  #handle: TrainingHandle | null = null;
  /** Aborts the look at a session that is no longer the one to show. */
  #looking = new AbortController();
  /** From the button until it is over; aborting it leaves. */
  #membership: AbortController | null = null;

  constructor() {
    super();
    this.#show = createView(this.attachShadow({ mode: "open" }), (action) => this.#act(action));
  }

  /** The session's link, or its bare id at this page's origin. */
  get href(): string {
    return this.getAttribute("href") ?? "";
  }

  set href(value: string) {
    this.setAttribute("href", value);
  }

  /** The part taken in the session; null before the button and after the end. */
  get handle(): TrainingHandle | null {
    return this.#handle;
  }

  /** Called by the browser when the element is on the page: looks at the session. */
  connectedCallback(): void {
    // Moved within the page: it goes on.
    if (this.#membership === null) void this.#look();
  }

  /** Called by the browser when the element is off the page: leaves, unless it was only moved. */
  disconnectedCallback(): void {
    queueMicrotask(() => {
      if (!this.isConnected) this.#abandon();
    });
  }

  /** Called by the browser when `href` changes: leaves that session and looks at the other one. */
  attributeChangedCallback(): void {
    if (!this.isConnected) return;
    this.#abandon();
    this.#session = null;
    void this.#look();
  }

  /** The element's own events have their types; the others are as on every element. */
  override addEventListener<Type extends keyof CommonweightSessionEvents>(
    type: Type,
    listener: (event: CustomEvent<CommonweightSessionEvents[Type]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  override addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
  override addEventListener(type: string, listener: unknown, options?: boolean | AddEventListenerOptions): void {
    super.addEventListener(type, listener as EventListener, options);
  }

  /**
   * Takes part, as the button does. Resolves once the coordinator knows this browser. Rejects with TrainingError, which is
   * an `error` event as well, or with an AbortError if the element left the page meanwhile.
   */
  async join(): Promise<TrainingHandle> {
    if (this.#handle !== null) return this.#handle;
    this.#abandon();
    const membership = new AbortController();
    this.#membership = membership;
    this.#problem = null;
    this.#ending = "";
    this.#status = "joining";
    this.#draw();
    const isCurrent = (): boolean => this.#membership === membership;
    try {
      const handle = await joinTraining(this.#link(), {
        ...this.#options(),
        signal: membership.signal,
        onEvent: (event) => {
          if (isCurrent()) this.#hear(event);
        },
      });
      if (isCurrent()) this.#handle = handle;
      this.#draw();
      const onEnd = () => {
        if (isCurrent()) this.#end();
      };
      handle.finished.then(onEnd, onEnd);
      return handle;
    } catch (error) {
      if (isCurrent()) {
        if (!membership.signal.aborted) this.#fail(error);
        this.#end();
      }
      throw error;
    }
  }

  /** An address relative to the page is as good as any link. */
  #link(): string {
    const { href } = this;
    return href.includes("/") && URL.canParse(href, document.baseURI) ? new URL(href, document.baseURI).href : href;
  }

  #options(): { engine?: EngineChoice; share?: number } {
    const engine = this.getAttribute("engine");
    const share = this.getAttribute("share");
    return {
      ...(engine !== null && engine in ENGINES ? { engine: engine as EngineChoice } : {}),
      ...(share === null ? {} : { share: Number(share) }),
    };
  }

  #act(action: Action): void {
    switch (action) {
      case "join":
        // What goes wrong has become an event and a text.
        this.join().catch(() => {});
        break;
      case "pause":
        this.#handle?.pause();
        break;
      case "resume":
        this.#handle?.resume();
        break;
      case "leave":
        this.#membership?.abort();
        break;
      default:
        action satisfies never;
    }
  }

  #hear(event: TrainingEvent): void {
    switch (event.type) {
      case "status":
        this.#status = event.detail.status;
        break;
      case "session":
        this.#session = { ...(this.#session ?? NOTHING_YET), title: event.detail.title };
        break;
      case "progress": {
        const { step, totalSteps, loss, status } = event.detail;
        this.#session = { title: this.#session?.title ?? "", step, totalSteps, loss, isOver: ENDS.has(status) };
        break;
      }
      case "finished":
        this.#ending = farewell(event.detail);
        break;
      case "error":
        if (event.detail.fatal) {
          this.#fail(new TrainingError(event.detail.code, event.detail.message));
          return;
        }
        break;
      default:
        break;
    }
    if (event.type in RELAYED) this.dispatchEvent(new CustomEvent(event.type, { detail: event.detail }));
    this.#draw();
  }

  /** Says what went wrong, once: the SDK both tells of it and rejects with it. */
  #fail(thrown: unknown): void {
    if (this.#problem !== null) return;
    const { code, message } = asTrainingError(thrown);
    this.#problem = new TrainingError(code, message);
    this.dispatchEvent(new CustomEvent("error", { detail: { code, message, fatal: true } }));
    this.#draw();
  }

  /** The invitation is back, unless the session is over. */
  #end(): void {
    this.#membership = null;
    this.#handle = null;
    this.#draw();
  }

  /** Leaves without a word: nobody looks at this session here any more. */
  #abandon(): void {
    this.#looking.abort();
    const membership = this.#membership;
    this.#membership = null;
    this.#handle = null;
    membership?.abort();
  }

  async #look(): Promise<void> {
    this.#looking.abort();
    this.#looking = new AbortController();
    const { signal } = this.#looking;
    this.#problem = null;
    this.#ending = "";
    this.#draw();
    try {
      const link = this.#link();
      const session = await readDescription(
        parseAddress(link, link.includes("/") ? undefined : location.origin),
        signal,
      );
      if (this.#membership === null) this.#session = session;
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
    }
    this.#draw();
  }

  #draw(): void {
    const { title, step, totalSteps } = this.#session ?? NOTHING_YET;
    this.#show({
      title,
      step,
      totalSteps,
      status: this.#readStatus(),
      detail: this.#readDetail(),
      actions: this.#actions(),
    });
  }

  #actions(): Card["actions"] {
    if (this.#handle !== null) return this.#status === "paused" ? "resume" : "pause";
    if (this.#membership !== null) return "joining";
    if (this.#problem !== null) return HOPELESS.has(this.#problem.code) ? "none" : "join";
    return this.#session === null || this.#session.isOver ? "none" : "join";
  }

  #readStatus(): string {
    if (this.#problem !== null) return `This does not work: ${this.#problem.message}`;
    if (this.#membership !== null) return STATUSES[this.#status];
    if (this.#ending !== "") return this.#ending;
    if (this.#session === null) return "Asking the coordinator…";
    return this.#session.isOver ? STATUSES.finished : "Open to volunteers";
  }

  #readDetail(): string {
    if (this.#membership === null) return this.#actions() === "join" ? INVITATION : "";
    const { step, totalSteps, loss } = this.#session ?? NOTHING_YET;
    const samples = this.#handle?.contributed.samples ?? 0;
    return [
      `step ${figure(step)} of ${figure(totalSteps)}`,
      ...(loss === null ? [] : [`loss ${loss.toPrecision(3)}`]),
      `${figure(samples)} samples computed here`,
    ].join(" · ");
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "commonweight-session": CommonweightSession;
  }
}

// Two copies of the package on one page: the first one has the name.
if (customElements.get("commonweight-session") === undefined) {
  customElements.define("commonweight-session", CommonweightSession);
}
