/**
 * A tab that takes part by the SDK, as any page would, and can also run its engine freely (`free-run.ts`). Driven from outside
 * (`../tabs.ts`).
 */

import { DEFAULT_POLICIES, joinTraining, type Policies, type TrainingHandle } from "../../../client/index.ts";
import type { FreeRun, FreeRunAnswer, FreeRunRequest } from "./free-run.ts";
import { readPictures } from "./pictures.ts";
import { countRight } from "./right.ts";

export interface EndToEndTab {
  /** Updates of the weights that this tab holds. */
  readonly step: number;
  /**
   * With so many threads that compute. Resolves once this tab has the session's first weights and what it fetches of the data before it
   * computes. A session that it was in before is left then, and not sooner: so the browser still has onnxruntime's code compiled.
   */
  join(link: string, workers: number): Promise<void>;
  /** The engine of the session's own definition, warmed up, and the session's pictures. */
  prepareFreeRun(server: string, id: string, images: string, labels: string): Promise<void>;
  /** Computes gradients for so long: forward, backward, rounded and added, nothing else. */
  freeRun(milliseconds: number): Promise<FreeRun>;
  /** Part of the pictures at this address that the session's present weights name right. */
  accuracy(images: string, labels: string): Promise<number>;
  leave(): Promise<void>;
}

declare global {
  var tab: EndToEndTab;
}

/** Nobody sits at this machine: a tab in the background computes on. */
const INSIST = Object.fromEntries(Object.keys(DEFAULT_POLICIES).map((name) => [name, "continue"])) as Policies;

/** Milliseconds without more data after which none is on its way. */
const QUIET = 200;

let handle: TrainingHandle | null = null;
let held = 0;
let free: Worker | null = null;

/** One request at a time. */
function ask(worker: Worker, request: FreeRunRequest): Promise<FreeRun | null> {
  const { promise, resolve, reject } = Promise.withResolvers<FreeRun | null>();
  worker.onmessage = ({ data }: MessageEvent<FreeRunAnswer>) => {
    if ("problem" in data) reject(new Error(data.problem));
    else resolve(data.done);
  };
  worker.onerror = ({ message }) => reject(new Error(message));
  worker.postMessage(request);
  return promise;
}

globalThis.tab = {
  get step() {
    return held;
  },
  async join(link, workers) {
    const before = handle;
    held = 0;
    const weights = Promise.withResolvers<void>();
    let loadedAt = performance.now();
    handle = await joinTraining(link, {
      engine: "wasm",
      workers,
      policies: INSIST,
      onEvent: (event) => {
        if (event.type === "data") loadedAt = performance.now();
        if (event.type !== "weights") return;
        held = event.detail.step;
        weights.resolve();
      },
    });
    await weights.promise;
    while (performance.now() - loadedAt < QUIET) await new Promise((resolve) => setTimeout(resolve, QUIET));
    await before?.leave();
  },
  async prepareFreeRun(server, id, images, labels) {
    free = new Worker(new URL("./free-run.ts", import.meta.url), { type: "module" });
    await ask(free, { server, id, images, labels });
  },
  async freeRun(milliseconds) {
    const run = free === null ? null : await ask(free, milliseconds);
    if (run === null) throw new Error("the engine was not prepared");
    return run;
  },
  async accuracy(images, labels) {
    if (handle === null) throw new Error("this tab has not joined");
    const { pixels, classes } = await readPictures(images, labels);
    const scores = await handle.predict({ x: Float32Array.from(pixels, (pixel) => pixel / 255) });
    return countRight(scores, classes) / classes.length;
  },
  async leave() {
    await handle?.leave();
    free?.terminate();
    handle = null;
    free = null;
  },
};
