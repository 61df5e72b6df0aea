/**
 * `/bench`: the engine section in a visitor's browser, on the visitor's own hardware. One button starts it; a worker does
 * all of the work; what comes of it is shown, can be copied, and is sent nowhere.
 */

import { html, nothing, render, type TemplateResult } from "lit";
import { describeWorkload, QUICK_WORKLOADS, WORKLOADS, type WorkloadName } from "../engine/workloads.ts";
import { isMeasured, type RaceResult } from "../harness/race.ts";
import { formatFigure } from "../harness/table.ts";
import type { AdapterDescription, RunRequest, WorkerMessage } from "./messages.ts";
import { describeAdapter, reportJson, reportText } from "./report.ts";

const ROUNDS = 7;
const QUICK_ROUNDS = 2;

/** Facts that the page shows; the text to copy has all of them. */
const SHOWN = ["samples/s", "GFLOP/s", "dispatches", "read-backs", "peak MB", "Δ gradient"];

interface State {
  readonly chosen: ReadonlySet<WorkloadName>;
  readonly phase: "ready" | "running" | "done" | "failed";
  readonly progress: string;
  /** Undefined until the worker has asked. */
  readonly adapter: AdapterDescription | undefined;
  readonly races: readonly RaceResult[];
  readonly copied: string;
}

/** `?quick` is for those who want to see that it runs, such as tests. */
const isQuick = new URLSearchParams(location.search).has("quick");

const workloads = isQuick ? QUICK_WORKLOADS : WORKLOADS;
const names = Object.keys(workloads) as WorkloadName[];

let state: State = {
  chosen: new Set(names),
  phase: "ready",
  progress: "",
  adapter: undefined,
  races: [],
  copied: "",
};

function update(change: Partial<State>): void {
  state = { ...state, ...change };
  draw();
}

function start(): void {
  update({ phase: "running", races: [], progress: "starting", adapter: undefined, copied: "" });
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const end = (change: Partial<State>): void => {
    worker.terminate();
    update(change);
  };
  worker.addEventListener("message", ({ data }: MessageEvent<WorkerMessage>) => {
    switch (data.type) {
      case "adapter":
        return update({ adapter: data.adapter });
      case "progress":
        return update({ progress: data.line });
      case "race":
        return update({ races: [...state.races, data.result] });
      case "done":
        return end({ phase: "done" });
      case "failed":
        return end({ phase: "failed", progress: data.problem });
      default:
        return data satisfies never;
    }
  });
  worker.addEventListener("error", ({ message }) =>
    end({ phase: "failed", progress: message || "its worker could not be loaded" }),
  );
  const wanted = names.filter((name) => state.chosen.has(name));
  const request: RunRequest = { workloads: wanted, rounds: isQuick ? QUICK_ROUNDS : ROUNDS, quick: isQuick };
  worker.postMessage(request);
}

function choose(name: WorkloadName, isWanted: boolean): void {
  const chosen = new Set(state.chosen);
  if (isWanted) chosen.add(name);
  else chosen.delete(name);
  update({ chosen });
}

async function copy(what: string, text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    update({ copied: `${what} copied` });
  } catch {
    update({ copied: "this browser does not let the page copy: select the text below" });
  }
}

const report = () => ({
  adapter: state.adapter ?? null,
  browser: navigator.userAgent,
  cores: navigator.hardwareConcurrency ?? 1,
  races: state.races,
});

function renderRace({ name, work, unit, entries }: RaceResult): TemplateResult {
  const measured = entries.filter(isMeasured);
  return html`
    <section class="card" data-race=${name}>
      <h2>${work}</h2>
      <div class="table" tabindex="0" role="region" aria-label=${work}>
        <table>
          <thead>
            <tr>
              <th scope="col">Engine, micro-batches</th>
              <th scope="col">${unit}</th>
              <th scope="col">quartiles</th>
              ${SHOWN.map((fact) => html`<th scope="col">${fact}</th>`)}
            </tr>
          </thead>
          <tbody>
            ${measured.map(
              ({ name, summary, facts }) => html`
                <tr>
                  <th scope="row">${name}</th>
                  <td>${formatFigure(summary.median)}</td>
                  <td>${formatFigure(summary.lower)}–${formatFigure(summary.upper)}</td>
                  ${SHOWN.map((fact) => html`<td>${facts[fact] === undefined ? "–" : formatFigure(facts[fact])}</td>`)}
                </tr>
              `,
            )}
          </tbody>
        </table>
      </div>
      ${entries.map((entry) =>
        isMeasured(entry) ? nothing : html`<p class="alarm">${entry.name}: ${entry.problem}</p>`,
      )}
    </section>
  `;
}

function renderReport(): TemplateResult {
  const text = reportText(report());
  return html`
    <section class="card">
      <h2>To paste</h2>
      <div class="actions">
        <button type="button" data-action="copy-text" @click=${() => copy("text", text)}>Copy as text</button>
        <button type="button" data-action="copy-json" @click=${() => copy("JSON", reportJson(report()))}>Copy as JSON</button>
        <span role="status">${state.copied}</span>
      </div>
      <p class="quiet small">It names your browser and graphics adapter. Nothing of it is sent anywhere by this page.</p>
      <pre class="report" tabindex="0" aria-label="Result as text">${text}</pre>
    </section>
  `;
}

function draw(): void {
  const { phase, progress, adapter, races, chosen } = state;
  const isRunning = phase === "running";
  const page = html`
    <p class="brand">Commonweight</p>
    <h1>How fast do networks train in this browser?</h1>
    <p>
      Measures the gradients of one training step with this project's own engines, WebGPU and WebAssembly, as volunteers
      compute them: new weights in, each micro-batch's gradient rounded and added, the sum out. Every engine's gradient is
      compared with one computed in float64 before its time counts.
    </p>
    <p class="quiet">
      Other libraries are not loaded here: this address serves what volunteers run and nothing else. To compare with them,
      run <code>npm run bench</code> in a checkout.
    </p>
    <section class="card">
      <h2>Measure</h2>
      <p>Nothing is computed before you press the button. It takes a minute or two and all of the machine.</p>
      <fieldset ?disabled=${isRunning}>
        <legend class="unseen">Networks</legend>
        ${names.map(
          (name) => html`
            <label>
              <input type="checkbox" name=${name} .checked=${chosen.has(name)}
                @change=${(event: Event) => choose(name, (event.currentTarget as HTMLInputElement).checked)} />
              <span>${describeWorkload(workloads[name])}</span>
            </label>
          `,
        )}
      </fieldset>
      <div class="actions">
        <button type="button" class="primary" data-action="run" ?disabled=${isRunning || chosen.size === 0} @click=${start}>
          ${isRunning ? "Measuring…" : "Measure this browser"}
        </button>
        <span role="status" class=${phase === "failed" ? "alarm" : "quiet"}>
          ${phase === "running" || phase === "failed" ? progress : ""}
        </span>
      </div>
      ${adapter === undefined ? nothing : html`<p>Graphics: ${describeAdapter(adapter)}</p>`}
    </section>
    ${races.map(renderRace)} ${phase === "done" ? renderReport() : nothing}
  `;
  const main = document.getElementById("bench");
  if (main === null) throw new Error("the page has no element #bench");
  render(page, main);
}

// What is there says that the browser is too old.
document.getElementById("bench")?.replaceChildren();
draw();
