/**
 * A tab that takes part by the SDK, as any page would, and can also run its engine freely: the same graph, micro-batch and one
 * thread, with no coordinator to wait for. Driven from outside (`../tabs.ts`).
 */

import type { GradientEngine, MicroBatch, Tensor } from "../../../client/engine/engine.ts";
import { createBrowserPool } from "../../../client/engine/onnx/browser.ts";
import { DEFAULT_POLICIES, joinTraining, type Policies, type TrainingHandle } from "../../../client/index.ts";
import poolSource from "../../../client/worker/pool.generated.js";
import { announce, createEnvelope, magnitudeBits } from "../../../shared/codec/index.ts";
import { bindShape, differentiate, initialize, sizeOf, type TrainingGraph } from "../../../shared/graph/index.ts";
import type { SessionDefinition } from "../../../shared/session/definition.ts";
import { microBatchesPerStep, planRun } from "../../../shared/session/plan.ts";

export interface FreeRun {
  readonly samples: number;
  readonly milliseconds: number;
}

export interface EndToEndTab {
  /** Updates of the weights that this tab holds. */
  readonly step: number;
  /** Resolves once the coordinator knows this tab. */
  join(link: string): Promise<void>;
  /** The engine of the session's own definition, warmed up. */
  prepareFreeRun(server: string, id: string): Promise<void>;
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
let microBatch: MicroBatch = { inputs: {}, position: 0 };
let definition: SessionDefinition | null = null;
let exponents: Uint8Array = new Uint8Array(0);

/** Pixels and classes of no picture: what they are does not change how long it takes. */
function madeUp(graph: TrainingGraph, samples: number): MicroBatch {
  const inputs = graph.inputs.map(({ name, shape, dtype, role }): [string, Tensor] => {
    const length = sizeOf(bindShape(shape, samples));
    if (dtype === "int32") return [name, Int32Array.from({ length }, (_, at) => at % 10)];
    return [name, Float32Array.from({ length }, (_, at) => (role === "weight" ? 1 : ((at * 37) % 101) / 101))];
  });
  return { inputs: Object.fromEntries(inputs), position: 0 };
}

function begin(own: GradientEngine, work: "calibrate" | "gradient"): void {
  if (definition === null) throw new Error("the engine was not prepared");
  const microBatches = microBatchesPerStep(planRun(definition));
  const bits = work === "gradient" ? magnitudeBits(definition.codec, microBatches) : 0;
  own.begin({ work, step: 1, microBatches, magnitudeBits: bits, exponents });
}

async function pictures(images: string, labels: string): Promise<{ x: Float32Array; y: Uint8Array }> {
  const read = async (address: string) => new Uint8Array(await (await fetch(address)).arrayBuffer());
  return { x: Float32Array.from(await read(images), (pixel) => pixel / 255), y: await read(labels) };
}

globalThis.tab = {
  get step() {
    return held;
  },
  async join(link) {
    handle = await joinTraining(link, {
      engine: "wasm",
      workers: 1,
      policies: INSIST,
      onEvent: (event) => {
        if (event.type === "weights") held = event.detail.step;
      },
    });
  },
  async prepareFreeRun(server, id) {
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
    microBatch = madeUp(graph, samples);
    await engine.setWeights(initialize(forward, seed));
    begin(engine, "calibrate");
    await engine.accumulate(microBatch);
    const { maxima } = await engine.take();
    exponents = announce(createEnvelope(maxima));
  },
  async freeRun(milliseconds) {
    if (engine === null || definition === null) throw new Error("the engine was not prepared");
    begin(engine, "gradient");
    await engine.accumulate(microBatch);
    await engine.idle();
    const start = performance.now();
    let count = 0;
    for (; performance.now() - start < milliseconds; count++) await engine.accumulate(microBatch);
    await engine.idle();
    const elapsed = performance.now() - start;
    await engine.take();
    return { samples: count * definition.microBatch, milliseconds: elapsed };
  },
  async accuracy(images, labels) {
    if (handle === null) throw new Error("this tab has not joined");
    const { x, y } = await pictures(images, labels);
    const scores = await handle.predict({ x });
    const classes = scores.length / y.length;
    let right = 0;
    for (const [sample, label] of y.entries()) {
      const own = scores.subarray(sample * classes, (sample + 1) * classes);
      if (own.indexOf(Math.max(...own)) === label) right += 1;
    }
    return right / y.length;
  },
  async leave() {
    await handle?.leave();
    await engine?.dispose();
    handle = null;
    engine = null;
  },
};
