/**
 * From opening a session's page to the coordinator's acceptance of this volunteer's first gradient: the page as it is served, a
 * volunteer who presses the button as soon as it is there, and a browser that has never been here, every round anew.
 */

import { setTimeout } from "node:timers/promises";
import { BROWSER_FLAGS } from "../../cli/browser.ts";
import { Chromium } from "../../cli/devtools.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import type { LocalCoordinator } from "../harness/local-coordinator.ts";
import { mnistSession, PERCEPTRON } from "../harness/mnist.ts";
import type { Contestant, Facts, Race } from "../harness/race.ts";
import { summarize } from "../harness/statistics.ts";
import { requireBrowser } from "./tabs.ts";

const PATIENCE = 30_000;
/** A browser's own start takes both cores for a second or more, and a volunteer's runs already: milliseconds until it has come to rest. */
const REST = 2_500;

/** What the page notes, in milliseconds since navigation began. */
interface Opening {
  /** The button was there, and was pressed. */
  readonly pressed: number;
  /** The coordinator knows this volunteer: engine and session are there. */
  readonly welcomed: number;
  readonly weights: number;
  /** The first lease of a training step, and its acceptance: that of the receipt's arrival. */
  readonly assigned: number;
  readonly accepted: number;
}

/** Runs in the page before its own scripts; looks often, and costs next to nothing. */
const WATCH = `(() => {
  const opening = (globalThis.opening = {});
  const note = (name) => { opening[name] ??= performance.now(); };
  let leases = new Set();
  const timer = setInterval(() => {
    const button = document.querySelector('[data-action="join"]:enabled');
    if (button !== null && opening.pressed === undefined) {
      note("pressed");
      button.click();
    }
    const handle = document.querySelector("commonweight-page")?.handle ?? null;
    if (handle === null) return;
    clearInterval(timer);
    note("welcomed");
    // They may have been there before there was a handle to listen to.
    if (handle.status === "waiting" || handle.status === "working") note("weights");
    handle.on("weights", () => note("weights"));
    handle.on("assign", ({ work, lease }) => {
      if (work !== "train") return;
      note("assigned");
      leases.add(lease);
    });
    handle.on("receipt", ({ lease, accepted }) => {
      if (accepted && leases.has(lease)) note("accepted");
    });
  }, 2);
})()`;

/** Milliseconds to an accepted gradient, by engine; more is more than people wait for. */
const ENGINES = {
  wasm: { name: "WASM", atMost: 3_000 },
  webgpu: { name: "WebGPU", atMost: 6_000 },
} as const;

type Engine = keyof typeof ENGINES;

interface Place {
  readonly coordinator: LocalCoordinator;
  readonly definition: SessionDefinition;
}

async function open({ coordinator, definition }: Place, engine: Engine): Promise<Opening> {
  const { id } = await coordinator.api.createSession(definition);
  const browser = await Chromium.launch({ executable: requireBrowser(), flags: BROWSER_FLAGS });
  try {
    const tab = await (await browser.createProfile()).open("about:blank");
    await tab.call("Page.enable");
    await tab.call("Page.addScriptToEvaluateOnNewDocument", { source: WATCH });
    await setTimeout(REST);
    await tab.call("Page.navigate", { url: `${coordinator.url}/s/${id}?engine=${engine}&share=100` });
    await tab.until("globalThis.opening?.accepted !== undefined", PATIENCE, "accepted gradient");
    return await tab.evaluate<Opening>("opening");
  } finally {
    await browser.stop();
    await coordinator.api.deleteSession(id);
  }
}

function contestant(place: Place, engine: Engine): Contestant {
  const openings: Opening[] = [];
  const median = (moment: (opening: Opening) => number): number => summarize(openings.map(moment)).median;
  return {
    name: ENGINES[engine].name,
    ours: true,
    prepare: async () => ({}),
    async measure() {
      const opening = await open(place, engine);
      openings.push(opening);
      return opening.accepted;
    },
    finish: async (): Promise<Facts> => ({
      "button pressed": median(({ pressed }) => pressed),
      welcomed: median(({ welcomed }) => welcomed),
      "weights set": median(({ weights }) => weights),
      "first lease": median(({ assigned }) => assigned),
    }),
  };
}

/** `samples` are learnt from, the first ones of the data set. */
export function firstGradientRace(coordinator: LocalCoordinator, samples: number): Race {
  const engines = Object.keys(ENGINES) as Engine[];
  // examples/mnist.ts, without what is held out.
  const definition = mnistSession({ network: PERCEPTRON, batchSize: 256, lr: 2e-3, seed: 0, train: samples });
  return {
    name: "first-gradient",
    work: "MNIST 784-256-128-10, batch 256, a page opened in a browser that was never here, to its first accepted gradient",
    unit: "ms",
    better: "lower",
    contestants: engines.map((engine) => contestant({ coordinator, definition }, engine)),
    claims: engines.map((engine) => ({ kind: "figure", ours: ENGINES[engine].name, bound: ENGINES[engine].atMost })),
  };
}
