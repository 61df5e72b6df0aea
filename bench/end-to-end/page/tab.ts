/**
 * A tab that takes part by the SDK, as any page would, and can also run its engine freely on one thread: the same graph and
 * micro-batch, with no coordinator to wait for. Driven from outside (`../tabs.ts`).
 */

import type { GradientEngine, Input, MicroBatch } from "../../../client/engine/engine.ts";
import { createBrowserPool } from "../../../client/engine/onnx/browser.ts";
import { DEFAULT_POLICIES, joinTraining, type Policies, type TrainingHandle } from "../../../client/index.ts";
import poolSource from "../../../client/worker/pool.generated.js";
import { announce, createEnvelope, magnitudeBits } from "../../../shared/codec/index.ts";
import { differentiate, initialize, type TrainingGraph } from "../../../shared/graph/index.ts";
import type { SessionDefinition } from "../../../shared/session/definition.ts";
import { microBatchesPerStep, planRun } from "../../../shared/session/plan.ts";
import { countRight } from "./right.ts";

export interface FreeRun {
  readonly samples: number;
  readonly milliseconds: number;
}

export interface EndToEndTab {
  /** Updates of the weights that this tab holds. */
  readonly step: number;
  /**
   * With so many threads that compute. Resolves once the coordinator knows this tab. A session that it was in before is left then, and not
   * sooner: so the browser still has onnxruntime's code compiled.
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

let handle: TrainingHandle | null = null;
let held = 0;
let engine: GradientEngine | null = null;
let microBatches: readonly MicroBatch[] = [];
let definition: SessionDefinition | null = null;
let exponents: Uint8Array = new Uint8Array(0);

interface Pictures {
  readonly pixels: Uint8Array;
  readonly classes: Uint8Array;
}

/**
 * All whole micro-batches of the pictures, as a session's samples come to the engine. One of them again and again would be learnt by the
 * processor: it takes 2 to 4 % less time.
 */
function cut(graph: TrainingGraph, samples: number, { pixels, classes }: Pictures): MicroBatch[] {
  const size = pixels.length / classes.length;
  return Array.from({ length: Math.floor(classes.length / samples) }, (_, at) => {
    const [from, to] = [at * samples, (at + 1) * samples];
    const inputs = graph.inputs.map(({ name, role }): [string, Input] => {
      if (role === "weight") return [name, new Float32Array(samples).fill(1)];
      if (role === "target") return [name, Int32Array.from(classes.subarray(from, to))];
      return [name, { bytes: pixels.subarray(from * size, to * size), scale: 1 / 255, offset: 0 }];
    });
    return { inputs: Object.fromEntries(inputs), position: 0 };
  });
}

function begin(own: GradientEngine, work: "calibrate" | "gradient"): void {
  if (definition === null) throw new Error("the engine was not prepared");
  const microBatches = microBatchesPerStep(planRun(definition));
  const bits = work === "gradient" ? magnitudeBits(definition.codec, microBatches) : 0;
  own.begin({ work, step: 1, microBatches, magnitudeBits: bits, exponents });
}

async function pictures(images: string, labels: string): Promise<Pictures> {
  const read = async (address: string) => new Uint8Array(await (await fetch(address)).arrayBuffer());
  return { pixels: await read(images), classes: await read(labels) };
}

globalThis.tab = {
  get step() {
    return held;
  },
  async join(link, workers) {
    const before = handle;
    held = 0;
    handle = await joinTraining(link, {
      engine: "wasm",
      workers,
      policies: INSIST,
      onEvent: (event) => {
        if (event.type === "weights") held = event.detail.step;
      },
    });
    await before?.leave();
  },
  async prepareFreeRun(server, id, images, labels) {
    const [reply, wasm] = await Promise.all([
      fetch(`${server}/api/sessions/${id}`),
      fetch(`${server}/ort/ort-wasm-simd-threaded.wasm`),
    ]);
    ({ definition } = (await reply.json()) as { definition: SessionDefinition });
    const { graph: forward, microBatch: samples, seed } = definition;
    const graph = differentiate(forward, samples);
    const url = URL.createObjectURL(new Blob([poolSource], { type: "text/javascript" }));
    const wasmBinary = await wasm.arrayBuffer();
    const spawn = () => new Worker(url, { type: "module", name: "commonweight-wasm" });
    engine = await createBrowserPool({ graph, microBatch: samples, seed, workers: 1, wasmBinary, spawn });
    microBatches = cut(graph, samples, await pictures(images, labels));
    await engine.setWeights(initialize(forward, seed));
    begin(engine, "calibrate");
    await engine.accumulate(microBatches[0]);
    const { maxima } = await engine.take();
    exponents = announce(createEnvelope(maxima));
  },
  async freeRun(milliseconds) {
    if (engine === null || definition === null) throw new Error("the engine was not prepared");
    begin(engine, "gradient");
    await engine.accumulate(microBatches[0]);
    await engine.idle();
    const start = performance.now();
    let count = 0;
    for (; performance.now() - start < milliseconds; count++) {
      await engine.accumulate(microBatches[count % microBatches.length]);
    }
    await engine.idle();
    const elapsed = performance.now() - start;
    await engine.take();
    return { samples: count * definition.microBatch, milliseconds: elapsed };
  },
  async accuracy(images, labels) {
    if (handle === null) throw new Error("this tab has not joined");
    const { pixels, classes } = await pictures(images, labels);
    const scores = await handle.predict({ x: Float32Array.from(pixels, (pixel) => pixel / 255) });
    return countRight(scores, classes) / classes.length;
  },
  async leave() {
    await handle?.leave();
    await engine?.dispose();
    handle = null;
    engine = null;
  },
};
