/**
 * The session's page: what is being trained, one button to take part, and how it goes, for those who compute and for
 * those who only watch. Nothing computes before the button is pressed (invariant I9). All text from the session is
 * rendered as text.
 */

import { html, LitElement, nothing, type TemplateResult } from "lit";
import type { Progress } from "../../shared/protocol/messages.ts";
import { chunkLayout } from "../../shared/session/dataset.ts";
import type { EngineChoice, TrainingHandle } from "../index.ts";
import { type EvaluationMetric, readMetrics, readSession, type SessionInfo, type SessionMetrics } from "./api.ts";
import { Curve, smooth } from "./curves.ts";
import { formatBytes, formatCount, formatLoss, formatMetric, formatShare } from "./format.ts";

const WATCH_INTERVAL = 2_000; // milliseconds between two looks at the coordinator
const HIDDEN_INTERVAL = 15_000;
const SMOOTHING = 0.95;

const ENGINES: Readonly<Record<EngineChoice, string>> = {
  auto: "Whichever is faster here",
  webgpu: "Graphics card (WebGPU)",
  wasm: "Processor (WebAssembly)",
};

const STAGES: Readonly<Record<Progress["stage"], string>> = {
  calibrate: "Calibrating",
  train: "Training",
  validate: "Measuring on held-out samples",
  test: "Measuring on the test set",
  done: "Done",
};

const STATUSES: Readonly<Record<Progress["status"], string>> = {
  waiting: "Waiting for volunteers",
  running: "",
  paused: "Paused by the session",
  stopped: "Stopped by the session",
  failed: "Stopped: something is wrong",
  finished: "Finished",
};

class SessionPage extends LitElement {
  static override properties = {
    info: { state: true },
    progress: { state: true },
    handle: { state: true },
    mine: { state: true },
    joining: { state: true },
    problem: { state: true },
    validation: { state: true },
  };

  declare info: SessionInfo | null;
  declare progress: Progress | null;
  declare handle: TrainingHandle | null;
  /** What this tab did. */
  declare mine: { samples: number; shards: number; paused: boolean; status: string };
  declare joining: boolean;
  declare problem: string;
  declare validation: readonly EvaluationMetric[];

  readonly #id = location.pathname.split("/").filter(Boolean).at(-1) ?? "";
  readonly #engine = engineFromAddress();
  readonly #steps: number[] = [];
  readonly #losses: number[] = [];
  #curves: { loss: Curve; validation: Curve } | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    super();
    this.info = null;
    this.progress = null;
    this.handle = null;
    this.mine = { samples: 0, shards: 0, paused: false, status: "" };
    this.joining = false;
    this.problem = "";
    this.validation = [];
  }

  /** The page's own stylesheet applies: no shadow tree. */
  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("visibilitychange", this.#lookNow);
    void this.#look();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("visibilitychange", this.#lookNow);
    clearTimeout(this.#timer);
    this.#curves?.loss.dispose();
    this.#curves?.validation.dispose();
    this.#curves = null;
  }

  readonly #lookNow = (): void => {
    if (!document.hidden) void this.#look();
  };

  /** Reads the session and its new metrics, and comes back later. */
  async #look(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      const info = await readSession(this.#id);
      this.info = info;
      if (this.handle === null || this.progress === null) this.progress = info.progress;
      this.#take(await readMetrics(this.#id, this.#steps.at(-1) ?? -1));
      this.problem = "";
      document.title = `${info.definition.title} · Commonweight`;
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
    const ended = this.progress?.stage === "done" && this.problem === "";
    if (!ended) this.#timer = setTimeout(() => void this.#look(), document.hidden ? HIDDEN_INTERVAL : WATCH_INTERVAL);
  }

  #take(metrics: SessionMetrics): void {
    for (const { step, loss } of metrics.steps) {
      if (step <= (this.#steps.at(-1) ?? -1)) continue;
      this.#steps.push(step);
      this.#losses.push(loss);
    }
    this.validation = metrics.evaluations;
  }

  protected override updated(): void {
    const loss = this.querySelector<HTMLElement>("#loss-curve");
    const held = this.querySelector<HTMLElement>("#validation-curve");
    if (loss === null || held === null) return;
    this.#curves ??= {
      loss: new Curve(loss, { label: "loss", colour: "--accent", format: formatLoss, dots: false }),
      validation: new Curve(held, { label: "held-out", colour: "--second", format: this.#formatHeldOut, dots: true }),
    };
    this.#curves.loss.draw(this.#steps, smooth(this.#losses, SMOOTHING));
    const validations = this.#validations();
    this.#curves.validation.draw(
      validations.map(({ step }) => step),
      validations.map((evaluation) => evaluation.metrics[this.#metric] ?? evaluation.loss),
    );
  }

  #validations(): EvaluationMetric[] {
    return this.validation.filter(({ work }) => work === "validate");
  }

  /** The held-out figure shown: accuracy if there is one. */
  get #metric(): string {
    return "correct" in (this.info?.definition.graph.outputs.metrics ?? {}) ? "correct" : "loss";
  }

  readonly #formatHeldOut = (value: number): string => formatMetric(this.#metric, value);

  readonly #join = async (): Promise<void> => {
    this.joining = true;
    this.problem = "";
    try {
      // The SDK is only fetched by those who take part.
      const { joinTraining } = await import("../index.ts");
      const engine = this.querySelector<HTMLSelectElement>("[name=engine]")?.value as EngineChoice;
      const handle = await joinTraining(this.#id, { server: location.origin, engine });
      handle.on("progress", (progress) => {
        this.progress = progress;
      });
      handle.on("status", ({ status, reason }) => {
        this.mine = { ...this.mine, status: reason === "" ? status : `${status}: ${reason}` };
      });
      handle.on("receipt", ({ accepted, samples }) => {
        if (accepted) this.mine = { ...this.mine, samples: this.mine.samples + samples, shards: this.mine.shards + 1 };
      });
      handle.on("error", ({ message }) => {
        this.problem = message;
      });
      this.handle = handle;
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this.joining = false;
  };

  readonly #togglePause = (): void => {
    const paused = !this.mine.paused;
    if (paused) this.handle?.pause();
    else this.handle?.resume();
    this.mine = { ...this.mine, paused };
  };

  readonly #leave = async (): Promise<void> => {
    const handle = this.handle;
    this.handle = null;
    this.mine = { ...this.mine, paused: false, status: "" };
    await handle?.leave();
    void this.#look();
  };

  protected override render(): TemplateResult {
    const { info } = this;
    return html`
      <p class="brand">Commonweight: a neural network trained by everyone's browsers</p>
      ${this.problem === "" ? nothing : html`<p class="alarm" role="alert">${this.problem}</p>`}
      ${info === null ? html`<p class="quiet">Asking the coordinator…</p>` : this.#renderSession(info)}
    `;
  }

  #renderSession(info: SessionInfo): TemplateResult {
    const { definition } = info;
    return html`
      <h1>${definition.title}</h1>
      <p class="quiet">${definition.description}</p>
      ${this.#renderProgress(info)}
      ${this.handle === null ? this.#renderInvitation(info) : this.#renderPart(this.handle)}
      <div class="pair">
        <section class="card">
          <h2>Training loss</h2>
          <div class="curve" id="loss-curve" aria-hidden="true"></div>
          <p class="quiet">${this.#readLoss()}</p>
        </section>
        <section class="card">
          <h2>${this.#metric === "correct" ? "Accuracy" : "Loss"} on held-out samples</h2>
          <div class="curve" id="validation-curve" aria-hidden="true"></div>
          <p class="quiet">${this.#readValidation()}</p>
        </section>
      </div>
      ${this.#renderClients()}
    `;
  }

  #renderProgress(info: SessionInfo): TemplateResult {
    const progress = this.progress ?? info.progress;
    const held = progress.validation;
    const test = this.validation.find(({ work }) => work === "test");
    const state = STATUSES[progress.status] || STAGES[progress.stage];
    return html`
      <section class="card" aria-label="Progress">
        <progress max=${progress.totalSteps} value=${progress.step} aria-label="Steps done"></progress>
        <dl class="figures">
          <div><dt>state</dt><dd class="small" role="status">${state}</dd></div>
          <div><dt>step</dt><dd>${formatCount(progress.step)} / ${formatCount(progress.totalSteps)}</dd></div>
          <div><dt>epoch</dt><dd>${progress.epoch + 1} / ${info.definition.epochs}</dd></div>
          <div><dt>loss</dt><dd>${progress.loss === null ? "–" : formatLoss(progress.loss)}</dd></div>
          <div>
            <dt>held-out ${this.#metric === "correct" ? "accuracy" : "loss"}</dt>
            <dd>${held === null ? "–" : this.#formatHeldOut(held.metrics[this.#metric] ?? held.loss)}</dd>
          </div>
          ${
            test === undefined
              ? nothing
              : html`<div>
                  <dt>test ${this.#metric === "correct" ? "accuracy" : "loss"}</dt>
                  <dd>${this.#formatHeldOut(test.metrics[this.#metric] ?? test.loss)}</dd>
                </div>`
          }
          <div><dt>samples a second</dt><dd>${formatCount(progress.samplesPerSecond)}</dd></div>
          <div><dt>volunteers now</dt><dd>${formatCount(progress.clientCount)}</dd></div>
        </dl>
        ${progress.reason === "" ? nothing : html`<p class="alarm">${progress.reason}</p>`}
      </section>
    `;
  }

  /** What taking part means, before anything computes. */
  #renderInvitation(info: SessionInfo): TemplateResult {
    if ((this.progress ?? info.progress).stage === "done") {
      return html`<section class="card"><h2>This training is over</h2><p>Thank you to everyone who took part.</p></section>`;
    }
    const weights = info.parameters * 4;
    const data = info.manifest === null ? 0 : chunkLayout(info.manifest.columns, info.manifest.samples).bytes;
    return html`
      <section class="card" aria-label="Take part">
        <h2>Take part</h2>
        <p>
          Your browser computes gradients of a network of ${formatCount(info.parameters)} parameters for as long as this
          tab is open. Nothing is computed before you press the button; close the tab whenever you like.
        </p>
        <ul class="plain">
          <li>Download: up to ${formatBytes(data)} of training data once, then ${formatBytes(weights)} of weights each step.</li>
          <li>Upload: about ${formatBytes(weights / (info.definition.codec === "fixed16" ? 2 : 1))} of gradients for each share of a step.</li>
          <li>Stored about you: a random identity for this tab, the kind of engine, and how many samples it computed.</li>
        </ul>
        <div class="actions">
          <button class="primary" data-action="join" ?disabled=${this.joining} @click=${this.#join}>
            ${this.joining ? "Preparing…" : "Take part"}
          </button>
          <label>
            Compute on
            <select name="engine" ?disabled=${this.joining}>
              ${Object.entries(ENGINES).map(
                ([value, label]) => html`<option value=${value} ?selected=${value === this.#engine}>${label}</option>`,
              )}
            </select>
          </label>
        </div>
      </section>
    `;
  }

  #renderPart(handle: TrainingHandle): TemplateResult {
    const all = (this.progress?.clients ?? []).reduce((sum, { samples }) => sum + samples, 0);
    return html`
      <section class="card" aria-label="Your part">
        <h2>Your part</h2>
        <dl class="figures">
          <div><dt>state</dt><dd class="small" role="status" data-figure="status">${this.mine.status}</dd></div>
          <div><dt>engine</dt><dd class="small" data-figure="engine">${handle.engine ?? "…"}</dd></div>
          <div><dt>device</dt><dd class="small" data-figure="device">${handle.device ?? "…"}</dd></div>
          <div><dt>samples computed</dt><dd data-figure="samples">${formatCount(this.mine.samples)}</dd></div>
          <div><dt>shares accepted</dt><dd>${formatCount(this.mine.shards)}</dd></div>
          <div><dt>of everyone's work</dt><dd>${all === 0 ? "–" : formatShare(Math.min(1, this.mine.samples / all))}</dd></div>
        </dl>
        <div class="actions">
          <button data-action="pause" @click=${this.#togglePause}>${this.mine.paused ? "Resume" : "Pause"}</button>
          <button data-action="leave" @click=${this.#leave}>Leave</button>
        </div>
      </section>
    `;
  }

  #renderClients(): TemplateResult | typeof nothing {
    const clients = this.progress?.clients ?? [];
    if (clients.length === 0) return nothing;
    return html`
      <section class="card">
        <h2>Volunteers</h2>
        <div class="scroll">
          <table>
            <thead>
              <tr><th>who</th><th>engine</th><th>device</th><th>state</th><th class="number">samples</th></tr>
            </thead>
            <tbody>
              ${clients.map(
                (client) => html`<tr>
                  <td>${client.id}${this.handle?.clientId?.startsWith(client.id) ? " (you)" : ""}</td>
                  <td>${client.engine}</td>
                  <td>${client.device}</td>
                  <td>${client.state}</td>
                  <td class="number">${formatCount(client.samples)}</td>
                </tr>`,
              )}
            </tbody>
          </table>
        </div>
      </section>
    `;
  }

  #readLoss(): string {
    const first = this.#losses[0];
    const last = smooth(this.#losses, SMOOTHING).at(-1);
    if (first === undefined || last === undefined) return "No step is done yet.";
    return `Started at ${formatLoss(first)}; about ${formatLoss(last)} after ${formatCount(this.#losses.length)} steps.`;
  }

  #readValidation(): string {
    const last = this.#validations().at(-1);
    if (last === undefined) return "Measured after each epoch.";
    return `${this.#formatHeldOut(last.metrics[this.#metric] ?? last.loss)} after ${formatCount(last.step)} steps.`;
  }
}

function engineFromAddress(): EngineChoice {
  const wanted = new URLSearchParams(location.search).get("engine");
  return wanted === "webgpu" || wanted === "wasm" ? wanted : "auto";
}

customElements.define("commonweight-page", SessionPage);
