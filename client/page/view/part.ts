/** What this machine does, what it has done, and everything one can do about it. */

import { html, nothing, type TemplateResult } from "lit";
import type { Circumstance } from "../../index.ts";
import { type CurveStyle, TIME_DISTANCES } from "../curve.ts";
import {
  countOf,
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatShare,
  formatTick,
} from "../format.ts";
import type { Part, Participation } from "../participation.ts";
import { renderShare } from "./share.ts";

export interface PartView {
  readonly participation: Participation;
  readonly part: Part;
  readonly share: number;
  readonly inBackground: boolean;
  readonly isForgetting: boolean;
  /** Samples that everyone connected has computed. */
  readonly everyone: number;
  /** Whether it can be taken up again, by a new join. */
  readonly isOver: boolean;
}

export interface PartActions {
  readonly onPause: () => void;
  readonly onResume: () => void;
  readonly onLeave: () => void;
  readonly onForget: () => void;
  readonly onAgain: () => void;
  readonly onShare: (share: number) => void;
  readonly onBackground: (inBackground: boolean) => void;
  readonly onIgnore: (circumstance: Circumstance) => void;
}

const CONTRIBUTION: CurveStyle = {
  colour: "--accent",
  format: (value) => Intl.NumberFormat("en", { notation: "compact" }).format(value),
  formatX: formatTick,
  distances: TIME_DISTANCES,
  dots: false,
  fromZero: true,
};

const ENGINES: Readonly<Record<string, string>> = { webgpu: "graphics card", wasm: "processor" };

/** What becomes of a circumstance that is no reason to pause. */
const NOTES: Readonly<Record<Circumstance, { readonly byDefault: string; readonly ignored: string }>> = {
  hidden: {
    byDefault: "It works on while this tab is hidden.",
    ignored: "It works on while this tab is hidden.",
  },
  battery: {
    byDefault: "On its battery it takes at most a quarter of the time.",
    ignored: "It uses the battery, as you told it to.",
  },
  metered: {
    byDefault: "The connection is metered or saves data.",
    ignored: "It uses your metered connection, as you told it to.",
  },
  slow: {
    byDefault: "It has slowed down, and takes at most a quarter of the time until it is well again.",
    ignored: "It has slowed down and computes all the same, as you told it to.",
  },
};

export function renderPart(
  { participation, part, share, inBackground, isForgetting, everyone, isOver }: PartView,
  actions: PartActions,
): TemplateResult {
  const { usage } = part;
  const { onShare, onBackground, onLeave, onAgain } = actions;
  const isDone = part.status === "finished" || part.status === "failed";
  return html`
    <section class="card" aria-labelledby="part-title" data-place="mine" tabindex="-1">
      <h2 id="part-title">Your part</h2>
      <div class="sides">
        <div>
          <p data-figure="doing">${describeWork(participation, part)}</p>
          ${isDone ? nothing : renderNotes(part)}
          ${isDone ? nothing : renderShare(share, false, onShare)}
          ${isDone ? nothing : renderBackground(inBackground, onBackground)}
          <div class="actions">
            ${isDone ? nothing : renderPause(part, actions)}
            ${isDone ? nothing : html`<button type="button" data-action="leave" @click=${onLeave}>Leave</button>`}
            ${isDone ? nothing : renderForget(isForgetting, actions)}
            ${
              part.status === "failed" && !isOver
                ? html`<button type="button" class="primary" data-action="join" @click=${onAgain}>Take part again</button>`
                : nothing
            }
          </div>
        </div>
        <div>
          ${
            part.shares === 0
              ? nothing
              : html`<commonweight-curve .look=${CONTRIBUTION} .points=${participation.contributed.points()}></commonweight-curve>`
          }
          <p class="quiet" data-figure="contribution">${readContribution(participation, part)}</p>
        </div>
      </div>
      <dl class="figures">
        <div><dt>samples computed</dt><dd data-figure="samples">${formatCount(part.samples)}</dd></div>
        <div>
          <dt>of the work here</dt>
          <dd>${everyone === 0 ? "–" : formatShare(Math.min(1, part.samples / everyone))}</dd>
        </div>
        <div><dt>time computing</dt><dd>${formatDuration(usage.computeSeconds)}</dd></div>
        <div><dt>busy lately</dt><dd data-figure="duty">${formatPercent(usage.dutyCycle)}</dd></div>
        <div><dt>downloaded</dt><dd>${formatBytes(usage.bytesDown)}</dd></div>
        <div><dt>uploaded</dt><dd>${formatBytes(usage.bytesUp)}</dd></div>
        <div><dt>connection</dt><dd class="small" data-figure="status">${describeStatus(part)}</dd></div>
        <div><dt>engine</dt><dd class="small" data-figure="engine">${participation.handle.engine}</dd></div>
        <div><dt>device</dt><dd class="small" data-figure="device">${participation.handle.device}</dd></div>
      </dl>
    </section>
  `;
}

/** The SDK's own word, and why. */
const describeStatus = ({ status, reason }: Part): string => (reason === "" ? status : `${status}: ${reason}`);

/** What the machine does now, in plain words. */
export function describeWork({ handle }: Participation, { status, assignment, samples }: Part): string {
  const where = `Your ${ENGINES[handle.engine] ?? "machine"}`;
  if (status === "paused") return `${where} rests.`;
  if (status === "finished" || status === "failed") return `${where} has computed ${countOf(samples, "sample")}.`;
  if (assignment === null) return `${where} is ready and waits for its first share.`;
  const { work, step, microBatches } = assignment;
  const share = countOf(microBatches, "micro-batch", "micro-batches");
  switch (work) {
    case "calibrate":
      return `${where} finds out how large the first gradients are.`;
    case "train":
      return `${where} computes gradients for step ${formatCount(step + 1)}: ${share} of it.`;
    case "validate":
      return `${where} checks the network on samples that it does not learn from: ${share}.`;
    case "test":
      return `${where} puts the finished network to its test: ${share}.`;
    default:
      return work satisfies never;
  }
}

/** The contribution's curve in words. */
function readContribution({ contributed, seconds }: Participation, { samples, shares }: Part): string {
  if (shares === 0) return "Nothing counted yet.";
  const time = formatDuration(contributed.last?.x ?? seconds);
  return `${countOf(samples, "sample")} in ${countOf(shares, "share")} counted within ${time}.`;
}

function renderNotes({ usage, cause, ignored }: Part): TemplateResult {
  const noted = usage.circumstances.filter((circumstance) => circumstance !== cause);
  const say = (circumstance: Circumstance): string =>
    NOTES[circumstance][ignored.includes(circumstance) ? "ignored" : "byDefault"];
  return html`<p class="quiet" data-figure="notes">${noted.map(say).join(" ")}</p>`;
}

function renderPause({ status, cause }: Part, { onPause, onResume, onIgnore }: PartActions): TemplateResult {
  const governed = status === "paused" && cause !== null && cause !== "volunteer" && cause !== "session" ? cause : null;
  if (governed !== null) {
    return html`<button type="button" class="primary" data-action="ignore" @click=${() => onIgnore(governed)}>
      Go on anyway
    </button>`;
  }
  return status === "paused" && cause !== "session"
    ? html`<button type="button" class="primary" data-action="pause" @click=${onResume}>Resume</button>`
    : html`<button type="button" data-action="pause" @click=${onPause}>Pause</button>`;
}

function renderBackground(inBackground: boolean, onBackground: (inBackground: boolean) => void): TemplateResult {
  return html`
    <label class="check">
      <input type="checkbox" name="background" .checked=${inBackground}
        @change=${(event: Event) => onBackground((event.currentTarget as HTMLInputElement).checked)} />
      Go on while this tab is hidden
    </label>
  `;
}

/** The dialog next to the button that opens it. */
const dialogOf = (event: Event): HTMLDialogElement | null =>
  (event.currentTarget as HTMLElement).closest("section")?.querySelector("dialog") ?? null;

function renderForget(isForgetting: boolean, { onForget }: PartActions): TemplateResult {
  return html`
    <button type="button" class="quiet-button" data-action="forget" ?disabled=${isForgetting}
      @click=${(event: Event) => dialogOf(event)?.showModal()}>
      ${isForgetting ? "Waiting to have you forgotten…" : "Forget me…"}
    </button>
    <dialog aria-labelledby="forget-title">
      <h2 id="forget-title">Forget you?</h2>
      <p>
        Your entry is removed from the coordinator: the number of this tab, your device, your name and what you computed. The
        network keeps what it learned, under nobody's name. You leave the session, and this cannot be undone.
      </p>
      <div class="actions">
        <button type="button" class="primary" data-action="confirm-forget" @click=${(event: Event) => {
          dialogOf(event)?.close();
          onForget();
        }}>Yes, forget me</button>
        <button type="button" data-action="keep" @click=${(event: Event) => dialogOf(event)?.close()}>Go on as before</button>
      </div>
    </dialog>
  `;
}
