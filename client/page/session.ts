/**
 * The session's page: what is being trained, one button to take part, and how it goes, for those who compute and for
 * those who only watch. This element holds the state and says what each action does; `states.ts` names the states and
 * `view/` draws them. Nothing computes before the button is pressed (invariant I9), and all text from the session is
 * rendered as text.
 */

// Before everything else, so that nothing runs while the invitation is in the address.
import "./token.ts";

import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import type { Progress } from "../../shared/protocol/messages.ts";
import { doorsOf } from "../../shared/session/access.ts";
import type { Circumstance, EngineChoice, TrainingHandle } from "../index.ts";
import {
  Busy,
  type EvaluationMetric,
  type JournalEntry,
  type Member,
  NotInvited,
  readJournal,
  readMetrics,
  readSession,
  type SessionInfo,
  UnknownSession,
} from "./api.ts";
import { isInsecure, missingFeatures } from "./browser.ts";
import { goToCheck, wishAfterCheck } from "./check.ts";
import { type CurveStyle, WHOLE_DISTANCES } from "./curve.ts";
import { countOf, formatCount, formatLoss } from "./format.ts";
import { type HeldOut, heldOutOf } from "./held-out.ts";
import { Average, History } from "./history.ts";
import { Pace } from "./pace.ts";
import { Participation } from "./participation.ts";
import { forgetPreferences, keepPreferences, type Preferences, readPreferences } from "./preferences.ts";
import { reloadIfOld } from "./reload.ts";
import { type Situation, STATES, type StateName, stateOf } from "./states.ts";
import { forgetInvitation, token } from "./token.ts";
import { renderConfusion } from "./view/confusion.ts";
import { renderCost } from "./view/cost.ts";
import { renderInvitation, renderTerms } from "./view/invitation.ts";
import { renderJournal } from "./view/journal.ts";
import { renderPart } from "./view/part.ts";
import { renderCredit, renderVolunteers } from "./view/people.ts";
import { renderProgress, renderState } from "./view/progress.ts";

const WATCH_INTERVAL = 2_000; // milliseconds between two looks at the coordinator
const HIDDEN_INTERVAL = 15_000;
/** How old what the session has cost may be, while this tab hears of the rest itself. */
const COST_INTERVAL = 60_000;
const SMOOTHING = 0.95;

const LOSS: CurveStyle = {
  colour: "--accent",
  format: formatLoss,
  formatX: formatCount,
  distances: WHOLE_DISTANCES,
  dots: false,
  fromZero: false,
};

/** States in which the button is there to press. */
const INVITES: ReadonlySet<StateName> = new Set(["open", "waiting", "deserted", "joining", "pausedBySession"]);

/** After these nothing changes any more. */
const ENDS: ReadonlySet<Progress["status"]> = new Set(["finished", "stopped", "failed"]);

const OVER: ReadonlySet<StateName> = new Set(["finished", "stopped", "failed", "deleted"]);

/** States whose own words say what went wrong. */
const SAYS_IT: ReadonlySet<StateName> = new Set(["deleted", "uninvited", "unchecked", "replaced", "disconnected"]);

class SessionPage extends LitElement {
  static override properties = {
    info: { state: true },
    progress: { state: true },
    participation: { state: true },
    preferences: { state: true },
    engine: { state: true },
    isJoining: { state: true },
    isForgetting: { state: true },
    thanksFor: { state: true },
    problem: { state: true },
    found: { state: true },
    members: { state: true },
    evaluations: { state: true },
    journal: { state: true },
    tryPlace: { state: true },
  };

  declare info: SessionInfo | null;
  declare progress: Progress | null;
  /** This tab's part, also once it has ended; null before it joined and after it left. */
  declare participation: Participation | null;
  declare preferences: Preferences;
  declare engine: EngineChoice;
  declare isJoining: boolean;
  declare isForgetting: boolean;
  declare thanksFor: number;
  declare problem: string;
  declare found: Situation["found"];
  /** Everyone whose work counted; empty before the end. */
  declare members: readonly Member[];
  declare evaluations: readonly EvaluationMetric[];
  /** Newest first; null until somebody asked for it. */
  declare journal: readonly JournalEntry[] | null;
  /** Where the panel to try the network was opened; it stays there, for moved elsewhere it would lose the drawing. */
  declare tryPlace: "above" | "below" | null;

  readonly #id = location.pathname.split("/").filter(Boolean).at(-1) ?? "";
  readonly #isChecked = doorsOf(this.#id).join === "checked";
  readonly #missing = missingFeatures(globalThis);
  readonly #pace = new Pace();
  readonly #losses = new History();
  readonly #smoothLoss = new Average(SMOOTHING);
  /** Counts joins: one that was given up must not come back. */
  #joins = 0;
  /** The button that had the focus is about to go: the focus follows to what takes its place. */
  #movesFocus = false;
  /** When the session was last read as a whole. */
  #readAt = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    super();
    this.info = null;
    this.progress = null;
    this.participation = null;
    const { engine, share } = wishesFromAddress();
    this.preferences = { ...readPreferences(), ...(share === null ? {} : { share }) };
    this.engine = engine;
    this.isJoining = false;
    this.isForgetting = false;
    this.thanksFor = 0;
    this.problem = "";
    this.found = "asking";
    this.members = [];
    this.evaluations = [];
    this.journal = null;
    this.tryPlace = null;
  }

  /** The SDK's handle while this tab takes part, and after that until it leaves. */
  get handle(): TrainingHandle | null {
    return this.participation?.handle ?? null;
  }

  /** The page's own stylesheet applies: no shadow tree. What browsers without modules see goes. */
  protected override createRenderRoot(): HTMLElement {
    this.replaceChildren();
    return this;
  }

  protected override async scheduleUpdate(): Promise<void> {
    await this.#pace.turn();
    super.scheduleUpdate();
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("visibilitychange", this.#lookNow);
    void this.#look();
    const wish = wishAfterCheck();
    if (wish === null) return;
    // The button was pressed, and the check came between.
    this.engine = wish;
    void this.#join();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("visibilitychange", this.#lookNow);
    clearTimeout(this.#timer);
  }

  readonly #lookNow = (): void => {
    if (!document.hidden) void this.#look();
  };

  /** Reads the session and its new metrics, and comes back later. */
  async #look(): Promise<void> {
    clearTimeout(this.#timer);
    let isOver = false;
    let pause = 0;
    try {
      // While this tab takes part it hears of the progress itself, and sooner; the rest changes slowly or never.
      const isTold = this.participation?.isLive ?? false;
      const isFresh = performance.now() - this.#readAt < COST_INTERVAL;
      const info = isTold && isFresh && this.info !== null ? this.info : await readSession(this.#id);
      if (info !== this.info) this.#readAt = performance.now();
      if (!isTold || this.progress === null) this.progress = info.progress;
      // What is read from here on is then complete.
      const { status } = this.progress;
      const metrics = await readMetrics(this.#id, this.#losses.last?.x ?? -1);
      this.info = info;
      for (const { step, loss } of metrics.steps) {
        if (loss !== null && step > (this.#losses.last?.x ?? -1)) this.#losses.add(step, this.#smoothLoss.add(loss));
      }
      this.evaluations = metrics.evaluations;
      this.members = metrics.result?.members ?? [];
      // The button is what somebody came for: it does not wait for the page's next turn.
      if (this.found !== "found") this.#pace.hurry();
      this.found = "found";
      isOver = ENDS.has(status);
      document.title = `${info.definition.title} · Commonweight`;
    } catch (error) {
      isOver = error instanceof UnknownSession || error instanceof NotInvited;
      // What is shown was true a moment ago.
      if (error instanceof Busy) pause = error.pause;
      else this.found = error instanceof NotInvited ? "uninvited" : isOver ? "unknown" : "unreachable";
    }
    const interval = document.hidden ? HIDDEN_INTERVAL : WATCH_INTERVAL;
    if (!isOver) this.#timer = setTimeout(() => void this.#look(), Math.max(interval, pause));
  }

  /** A person did something: they see at once what came of it. */
  #respond(): void {
    this.#pace.hurry();
    this.requestUpdate();
  }

  readonly #join = async (): Promise<void> => {
    if (this.isJoining) return;
    if (this.#isChecked && token === undefined) {
      goToCheck(this.engine);
      return;
    }
    const attempt = ++this.#joins;
    this.isJoining = true;
    this.participation = null;
    this.problem = "";
    this.#respond();
    try {
      const participation = await Participation.join(
        this.#id,
        { ...this.preferences, engine: this.engine },
        {
          onChange: (isNotable) => {
            if (attempt === this.#joins) this.#onCode(this.participation?.part.code ?? null);
            if (isNotable) this.#pace.hurry();
            this.requestUpdate();
          },
          onProgress: (progress) => {
            if (attempt === this.#joins) this.progress = progress;
          },
        },
      );
      this.participation = participation;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : null;
      if (this.#onCode(code)) return;
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this.isJoining = false;
    this.#movesFocus = true;
    this.#respond();
  };

  /** What an error asks of this page; true where it loads itself anew. */
  #onCode(code: string | null): boolean {
    // The next press of the button leads to the check.
    if (code === "not-invited" && this.#isChecked) forgetInvitation();
    return reloadIfOld(code);
  }

  readonly #openJournal = async (): Promise<void> => {
    try {
      this.journal = await readJournal(this.#id);
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
  };

  readonly #submit = (event: SubmitEvent): void => {
    event.preventDefault();
    void this.#join();
  };

  readonly #leave = async (): Promise<void> => {
    const { participation } = this;
    this.#joins += 1;
    this.participation = null;
    this.problem = "";
    this.thanksFor = participation?.part.samples ?? 0;
    this.#movesFocus = true;
    this.#respond();
    await participation?.handle.leave();
    void this.#look();
  };

  readonly #forget = async (): Promise<void> => {
    const { participation } = this;
    if (participation === null) return;
    this.isForgetting = true;
    this.#respond();
    try {
      await participation.handle.forget();
      forgetPreferences();
      // It names the identity that was forgotten.
      if (this.#isChecked) forgetInvitation();
      this.preferences = readPreferences();
      this.#joins += 1;
      this.participation = null;
      this.problem = "";
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.problem = `You could not be forgotten: ${why}. Try again in a moment.`;
    }
    this.isForgetting = false;
    this.#movesFocus = true;
    this.#respond();
  };

  #prefer(change: Partial<Preferences>): void {
    this.preferences = { ...this.preferences, ...change };
    keepPreferences(this.preferences);
    this.#respond();
  }

  readonly #setShare = (share: number): void => {
    this.participation?.handle.setShare(share);
    this.#prefer({ share });
  };

  readonly #setInBackground = (inBackground: boolean): void => {
    this.participation?.setInBackground(inBackground);
    this.#prefer({ inBackground });
  };

  readonly #pause = (): void => {
    this.participation?.handle.pause();
    this.#respond();
  };

  readonly #resume = (): void => {
    this.participation?.handle.resume();
    this.#respond();
  };

  readonly #ignore = (circumstance: Circumstance): void => {
    this.participation?.ignore(circumstance);
    this.#respond();
  };

  readonly #try = async (): Promise<void> => {
    await import("./try/panel.ts");
    this.tryPlace = OVER.has(this.#state()) ? "above" : "below";
    this.#respond();
  };

  protected override willUpdate(_: PropertyValues): void {
    this.participation?.note();
  }

  protected override updated(): void {
    if (!this.#movesFocus) return;
    this.#movesFocus = false;
    const isLost = document.activeElement === null || document.activeElement === document.body;
    if (isLost) this.querySelector<HTMLElement>("[data-place=mine]")?.focus({ preventScroll: true });
  }

  protected override render(): TemplateResult {
    const { info } = this;
    const name = this.#state();
    const problem = SAYS_IT.has(name) ? "" : this.problem || (this.participation?.part.problem ?? "");
    return html`
      <header>
        <p class="brand">Commonweight: a neural network trained by everyone's browsers</p>
        ${info === null ? nothing : renderTitle(info)}
      </header>
      <main>
        ${renderState(STATES[name], this.#reason(name))}
        ${problem === "" ? nothing : html`<p class="alarm" role="alert"><bdi>${problem}</bdi></p>`}
        ${info === null || name === "unknown" ? nothing : this.#renderSession(info, name)}
      </main>
    `;
  }

  #state(): StateName {
    const { found, progress, info, participation } = this;
    const joining = this.isJoining ? ({ status: "joining", cause: null, code: null, assignment: null } as const) : null;
    return stateOf({
      found,
      progress,
      missing: this.#missing,
      needsData: info?.definition.data.source === "local",
      isChecked: this.#isChecked,
      part: joining ?? participation?.part ?? null,
    });
  }

  /** The session's own word about its state, or what this browser lacks. */
  #reason(name: StateName): string {
    if (name === "unsupported") return `Missing here: ${this.#missing.join(", ")}.`;
    return this.progress?.reason ?? "";
  }

  #renderSession(info: SessionInfo, name: StateName): TemplateResult {
    const progress = this.progress ?? info.progress;
    const isOver = OVER.has(name);
    const tryPlace = this.tryPlace ?? (isOver ? "above" : "below");
    const heldOut = heldOutOf(info.definition);
    const test = this.evaluations.find(({ work }) => work === "test");
    return html`
      ${renderProgress(info, progress, heldOut, test)}
      ${this.#renderMine(info, name, progress)}
      ${tryPlace === "above" ? this.#renderTry(name, progress) : nothing}
      ${
        this.#losses.count < 2
          ? nothing
          : html`<div class="pair">${this.#renderLoss()}${heldOut.isMeasured ? this.#renderHeldOut(heldOut) : nothing}</div>`
      }
      ${renderConfusion(this.evaluations)}
      ${tryPlace === "below" ? this.#renderTry(name, progress) : nothing}
      ${renderCredit(isOver ? this.members : progress.clients, isOver)}
      ${isOver ? nothing : renderVolunteers(progress, this.handle?.clientId ?? "")}
      ${name === "deleted" ? nothing : renderJournal(this.journal, this.#openJournal)}
      ${name === "deleted" ? nothing : renderCost(info)}
      ${this.participation === null && INVITES.has(name) ? nothing : renderAbout(info)}
    `;
  }

  /** The invitation, or what this tab does. */
  #renderMine(info: SessionInfo, name: StateName, progress: Progress): TemplateResult | typeof nothing {
    const { participation, preferences } = this;
    if (participation === null) {
      if (!INVITES.has(name) || this.#missing.length > 0 || info.definition.data.source === "local") return nothing;
      return renderInvitation(
        {
          info,
          preferences,
          engine: this.engine,
          isJoining: this.isJoining,
          isInsecure: isInsecure(globalThis),
          thanksFor: this.thanksFor,
        },
        {
          onJoin: this.#submit,
          onName: (chosen) => this.#prefer({ name: chosen.trim() }),
          onShare: this.#setShare,
          onEngine: (engine) => {
            this.engine = engine;
          },
        },
      );
    }
    return renderPart(
      {
        participation,
        part: participation.part,
        share: preferences.share,
        inBackground: preferences.inBackground,
        isForgetting: this.isForgetting,
        everyone: progress.clients.reduce((sum, { samples }) => sum + samples, 0),
        isOver: OVER.has(name),
      },
      {
        onPause: this.#pause,
        onResume: this.#resume,
        onLeave: this.#leave,
        onForget: this.#forget,
        onAgain: this.#join,
        onShare: this.#setShare,
        onBackground: this.#setInBackground,
        onIgnore: this.#ignore,
      },
    );
  }

  /** Once there is something to try: weights that have learned at least a little, and are still there and finite. */
  #renderTry(name: StateName, { step }: Progress): TemplateResult | typeof nothing {
    if (step === 0 || name === "deleted" || name === "failed") return nothing;
    return html`
      <section class="card" aria-labelledby="try-title">
        <h2 id="try-title">Try it</h2>
        ${
          this.tryPlace !== null
            ? html`<commonweight-try .session=${this.#id} .isFinal=${OVER.has(name)}></commonweight-try>`
            : html`
                <p>See what the network has learned. It is fetched and runs on your machine; what you enter stays here.</p>
                <div class="actions">
                  <button type="button" class=${OVER.has(name) ? "primary" : ""} data-action="try" @click=${this.#try}>Try the network</button>
                </div>
              `
        }
      </section>
    `;
  }

  #renderLoss(): TemplateResult {
    const { first, last, count } = this.#losses;
    return html`
      <section class="card" aria-labelledby="loss-title">
        <h2 id="loss-title">Training loss</h2>
        <commonweight-curve .look=${LOSS} .points=${this.#losses.points()}></commonweight-curve>
        <p class="quiet">
          It started at ${formatLoss(first?.y ?? 0)} and is at about ${formatLoss(last?.y ?? 0)} after
          ${countOf(count, "step")}.
        </p>
      </section>
    `;
  }

  #renderHeldOut(heldOut: HeldOut): TemplateResult {
    const measured = this.evaluations.flatMap((evaluation) => {
      const value = heldOut.of(evaluation);
      return evaluation.work === "validate" && value !== null ? [{ step: evaluation.step, value }] : [];
    });
    const last = measured.at(-1);
    const look: CurveStyle = { ...LOSS, colour: "--second", format: heldOut.format, dots: true };
    const points = [measured.map(({ step }) => step), measured.map(({ value }) => value)];
    return html`
      <section class="card" aria-labelledby="held-out-title">
        <h2 id="held-out-title">${heldOut.name.charAt(0).toUpperCase()}${heldOut.name.slice(1)} on held-out samples</h2>
        ${
          last === undefined ? nothing : html`<commonweight-curve .look=${look} .points=${points}></commonweight-curve>`
        }
        <p class="quiet">
          ${
            last === undefined
              ? "Measured after each epoch."
              : `${heldOut.format(last.value)} after ${countOf(last.step, "step")}.`
          }
        </p>
      </section>
    `;
  }
}

/** For those who cannot or need not decide any more. */
function renderAbout(info: SessionInfo): TemplateResult {
  return html`<details class="card"><summary>About this session and your privacy</summary>${renderTerms(info)}</details>`;
}

function renderTitle({ definition: { title, description } }: SessionInfo): TemplateResult {
  return html`
    <h1><bdi>${title}</bdi></h1>
    ${description === "" ? nothing : html`<p class="quiet description"><bdi>${description}</bdi></p>`}
  `;
}

/** `?engine=webgpu|wasm` and `?share=<per cent>`: for links that know the machine they are for. */
function wishesFromAddress(): { engine: EngineChoice; share: number | null } {
  const wishes = new URLSearchParams(location.search);
  const engine = wishes.get("engine");
  const share = Number(wishes.get("share") ?? 0) / 100;
  return {
    engine: engine === "webgpu" || engine === "wasm" ? engine : "auto",
    share: share > 0 && share <= 1 ? share : null,
  };
}

customElements.define("commonweight-page", SessionPage);
