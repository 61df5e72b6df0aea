/** What taking part means, before anything computes: what is trained, by whom, what it costs and what becomes known. */

import { html, nothing, type TemplateResult } from "lit";
import type { EngineChoice } from "../../index.ts";
import type { SessionInfo } from "../api.ts";
import { costOf, RUNTIME_BYTES } from "../cost.ts";
import { formatBytes, formatCount } from "../format.ts";
import { NAME_CHARACTERS, type Preferences } from "../preferences.ts";
import { renderShare } from "./share.ts";

export interface Invitation {
  readonly info: SessionInfo;
  readonly preferences: Preferences;
  readonly engine: EngineChoice;
  readonly isJoining: boolean;
  /** No WebGPU here: the page came over plain http. */
  readonly isInsecure: boolean;
  /** What this tab computed before it left; 0 if it never joined. */
  readonly thanksFor: number;
}

export interface InvitationActions {
  readonly onJoin: (event: SubmitEvent) => void;
  readonly onName: (name: string) => void;
  readonly onShare: (share: number) => void;
  readonly onEngine: (engine: EngineChoice) => void;
}

const ENGINES: Readonly<Record<EngineChoice, string>> = {
  auto: "Whichever is faster here",
  webgpu: "Graphics card (WebGPU)",
  wasm: "Processor (WebAssembly)",
};

const isEngine = (value: string): value is EngineChoice => value in ENGINES;

export function renderInvitation(
  { info, preferences, engine, isJoining, isInsecure, thanksFor }: Invitation,
  { onJoin, onName, onShare, onEngine }: InvitationActions,
): TemplateResult {
  return html`
    <form class="card" aria-label="Take part" data-place="mine" tabindex="-1" @submit=${onJoin}>
      <h2>Take part</h2>
      ${
        thanksFor === 0
          ? nothing
          : html`<p>You have left. Thank you: ${formatCount(thanksFor)} samples of this training are your work.</p>`
      }
      <p>
        Your browser computes a share of every step, for as long as this tab is open. Nothing is computed before you press
        the button, and you can pause or leave whenever you like.
      </p>
      <div class="choices">
        ${renderShare(preferences.share, isJoining, onShare)}
        <label class="field">
          <span>Name for credit, if you like</span>
          <input name="name" autocomplete="nickname" maxlength=${NAME_CHARACTERS} .value=${preferences.name}
            ?disabled=${isJoining} @change=${(event: Event) => onName((event.currentTarget as HTMLInputElement).value)} />
          <span class="quiet small">Shown to everyone beside what you computed.</span>
        </label>
        <label class="field">
          <span>Compute on</span>
          <select name="engine" ?disabled=${isJoining} @change=${(event: Event) => {
            const { value } = event.currentTarget as HTMLSelectElement;
            if (isEngine(value)) onEngine(value);
          }}>
            ${Object.entries(ENGINES).map(
              ([value, label]) =>
                html`<option value=${value} ?selected=${value === engine} ?disabled=${isInsecure && value === "webgpu"}>
                  ${label}
                </option>`,
            )}
          </select>
          ${
            isInsecure
              ? html`<span class="quiet small">
                  This page came over plain http, where browsers allow no WebGPU: your processor does the work.
                </span>`
              : nothing
          }
        </label>
      </div>
      <div class="actions">
        <button class="primary" data-action="join" ?disabled=${isJoining}>${isJoining ? "Getting ready…" : "Take part"}</button>
      </div>
      ${renderTerms(info)}
    </form>
  `;
}

/** Everything there is to know before one agrees. */
export function renderTerms(info: SessionInfo): TemplateResult {
  const { definition, parameters } = info;
  const { dataBytes, bytesPerStep, bytesPerShare, memoryBytes } = costOf(info);
  const foreign = (text: string): TemplateResult =>
    text === "" ? html`<span class="quiet">not stated</span>` : html`<bdi>${text}</bdi>`;
  return html`
    <dl class="terms">
      <div><dt>Run by</dt><dd>${foreign(definition.contact)}</dd></div>
      <div><dt>Licence of the data</dt><dd>${foreign(definition.dataLicence)}</dd></div>
      <div><dt>Licence of the network</dt><dd>${foreign(definition.modelLicence)}</dd></div>
      <div><dt>The network</dt><dd>${formatCount(parameters)} parameters, ${formatCount(definition.batchSize)} samples a step</dd></div>
      <div>
        <dt>Your machine</dt>
        <dd>The share you choose is of your graphics card's time, or of half of your processor's cores: the other half stays yours</dd>
      </div>
      <div>
        <dt>Download</dt>
        <dd>
          ${dataBytes === 0 ? nothing : html`Up to ${formatBytes(dataBytes)} of data once, then `}${formatBytes(bytesPerStep)}
          of weights each step; on the processor also ${formatBytes(RUNTIME_BYTES)} of onnxruntime, once
        </dd>
      </div>
      <div><dt>Upload</dt><dd>${formatBytes(bytesPerShare)} of gradients for each share of a step</dd></div>
      <div><dt>Memory</dt><dd>${memoryBytes === null ? "not known" : `About ${formatBytes(memoryBytes)}, and what the browser needs itself`}</dd></div>
      <div>
        <dt>Sent from here</dt>
        <dd>Gradients: numbers computed from the session's own data. Never a file, a picture or anything else of yours.</dd>
      </div>
      <div>
        <dt>Kept about you</dt>
        <dd>
          A random number for this tab, the names of your engine and device, your name if you gave one, and how many samples you
          computed. You can have it forgotten while you take part.
        </dd>
      </div>
    </dl>
  `;
}
