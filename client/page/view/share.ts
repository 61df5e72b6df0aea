/** The slider for how much of this machine may be used. */

import { html, type TemplateResult } from "lit";
import { formatPercent } from "../format.ts";

/** Per cent. */
const LEAST = 10;
const STEP = 5;

/** What a share feels like. */
function describe(share: number): string {
  if (share <= 0.25) return "hardly noticeable";
  if (share <= 0.6) return "it stays pleasant to use";
  return share < 1 ? "most of what it has to spare" : "all that it has to spare";
}

export function renderShare(share: number, isDisabled: boolean, onShare: (share: number) => void): TemplateResult {
  return html`
    <label class="field">
      <span>Share of this machine: <strong data-figure="share">${formatPercent(share)}</strong></span>
      <input type="range" name="share" min=${LEAST} max="100" step=${STEP} .value=${String(Math.round(share * 100))}
        aria-valuetext=${`${formatPercent(share)}: ${describe(share)}`} ?disabled=${isDisabled}
        @input=${(event: Event) => onShare(Number((event.currentTarget as HTMLInputElement).value) / 100)} />
      <span class="quiet small">${describe(share)}</span>
    </label>
  `;
}
