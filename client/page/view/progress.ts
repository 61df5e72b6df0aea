/** Where the session stands: its state in words, for everyone, and its figures. */

import { html, nothing, type TemplateResult } from "lit";
import type { Progress } from "../../../shared/protocol/messages.ts";
import type { EvaluationMetric, SessionInfo } from "../api.ts";
import { formatCount, formatLoss } from "../format.ts";
import type { HeldOut } from "../held-out.ts";
import type { State } from "../states.ts";

/** What is being done besides learning. */
const STAGES: Readonly<Record<Progress["stage"], string>> = {
  calibrate: "",
  train: "",
  validate: ": measuring on held-out samples",
  test: ": measuring on the test set",
  done: "",
};

/** `reason` is the session's or the browser's own word; empty if there is none. */
export function renderState({ title, next, tone }: State, reason: string): TemplateResult {
  return html`
    <div class="state ${tone}" role="status" data-figure="state">
      <p class="state-title"><span class="lamp" aria-hidden="true"></span>${title}</p>
      <p>${next}</p>
      ${reason === "" ? nothing : html`<p class="quiet"><bdi>${reason}</bdi></p>`}
    </div>
  `;
}

export function renderProgress(
  { definition }: SessionInfo,
  progress: Progress,
  heldOut: HeldOut,
  test: EvaluationMetric | undefined,
): TemplateResult {
  const { step, totalSteps, epoch, loss, validation, samplesPerSecond, clientCount, stage } = progress;
  const where = `Step ${formatCount(step)} of ${formatCount(totalSteps)}, epoch ${formatCount(epoch + 1)} of ${formatCount(definition.epochs)}`;
  return html`
    <section class="card" aria-label="Progress">
      <p><span data-figure="step" data-step=${step}>${where}</span><span class="quiet">${STAGES[stage]}</span></p>
      <progress max=${totalSteps} value=${step} aria-label="Steps done">${where}</progress>
      <dl class="figures">
        <div><dt>loss</dt><dd>${loss === null ? "–" : formatLoss(loss)}</dd></div>
        ${
          heldOut.isMeasured
            ? html`<div>
                <dt>held-out ${heldOut.name}</dt>
                <dd>${validation === null ? "–" : heldOut.format(heldOut.of(validation) ?? 0)}</dd>
              </div>`
            : nothing
        }
        ${
          test === undefined
            ? nothing
            : html`<div><dt>test ${heldOut.name}</dt><dd>${heldOut.format(heldOut.of(test) ?? 0)}</dd></div>`
        }
        ${
          stage === "done"
            ? nothing
            : html`
                <div><dt>samples a second</dt><dd>${formatCount(samplesPerSecond)}</dd></div>
                <div><dt>volunteers now</dt><dd data-figure="volunteers">${formatCount(clientCount)}</dd></div>
              `
        }
      </dl>
    </section>
  `;
}
