/**
 * A worker in which the engine of a session runs freely on one thread: the same graph and micro-batch, in a thread of the same kind as
 * the SDK's, with no coordinator to wait for.
 */

import type { GradientEngine, Input, MicroBatch } from "../../../client/engine/engine.ts";
import { ownThread } from "../../../client/engine/onnx/own-thread.ts";
import { announce, createEnvelope, magnitudeBits } from "../../../shared/codec/index.ts";
import { differentiate, initialize, type TrainingGraph } from "../../../shared/graph/index.ts";
import type { SessionDefinition } from "../../../shared/session/definition.ts";
import { microBatchesPerStep, planRun } from "../../../shared/session/plan.ts";
import { type Pictures, readPictures } from "./pictures.ts";

export interface FreeRunOptions {
  /** Where the session is. */
  readonly server: string;
  readonly id: string;
  /** Addresses of the session's pictures. */
  readonly images: string;
  readonly labels: string;
}

export interface FreeRun {
  readonly samples: number;
  readonly milliseconds: number;
}

/** The first message prepares, each further one runs for so many milliseconds. Each is answered once, in order. */
export type FreeRunRequest = FreeRunOptions | number;
export type FreeRunAnswer = { readonly done: FreeRun | null } | { readonly problem: string };

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

class FreeEngine {
  readonly #engine: GradientEngine;
  readonly #definition: SessionDefinition;
  readonly #microBatches: readonly MicroBatch[];
  #exponents: Uint8Array = new Uint8Array(0);

  /** With the session's first weights, and what the exponents of its first gradient are. */
  static async create({ server, id, images, labels }: FreeRunOptions): Promise<FreeEngine> {
    const [reply, wasm, pictures] = await Promise.all([
      fetch(`${server}/api/sessions/${id}`),
      fetch(`${server}/ort/ort-wasm-simd-threaded.wasm`),
      readPictures(images, labels),
    ]);
    const { definition } = (await reply.json()) as { definition: SessionDefinition };
    const { graph: forward, microBatch, seed } = definition;
    const options = { graph: differentiate(forward, microBatch), microBatch, seed };
    if (!ownThread.suits(options)) throw new Error("the SDK computes such micro-batches in another thread");
    const engine = await ownThread.create(options, await wasm.arrayBuffer());
    const free = new FreeEngine(engine, definition, cut(options.graph, microBatch, pictures));
    await engine.setWeights(initialize(forward, seed));
    await free.#calibrate();
    return free;
  }

  private constructor(engine: GradientEngine, definition: SessionDefinition, microBatches: readonly MicroBatch[]) {
    this.#engine = engine;
    this.#definition = definition;
    this.#microBatches = microBatches;
  }

  async #calibrate(): Promise<void> {
    this.#begin("calibrate");
    await this.#engine.accumulate(this.#microBatches[0]);
    const { maxima } = await this.#engine.take();
    this.#exponents = announce(createEnvelope(maxima));
  }

  #begin(work: "calibrate" | "gradient"): void {
    const microBatches = microBatchesPerStep(planRun(this.#definition));
    const bits = work === "gradient" ? magnitudeBits(this.#definition.codec, microBatches) : 0;
    this.#engine.begin({ work, step: 1, microBatches, magnitudeBits: bits, exponents: this.#exponents });
  }

  /** Gradients for so long: forward, backward, rounded and added, nothing else. */
  async run(milliseconds: number): Promise<FreeRun> {
    const engine = this.#engine;
    const microBatches = this.#microBatches;
    this.#begin("gradient");
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
    return { samples: count * this.#definition.microBatch, milliseconds: elapsed };
  }
}

let free: FreeEngine | null = null;

async function answer(request: FreeRunRequest): Promise<FreeRunAnswer> {
  try {
    if (typeof request !== "number") {
      free = await FreeEngine.create(request);
      return { done: null };
    }
    if (free === null) throw new Error("the engine was not prepared");
    return { done: await free.run(request) };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

addEventListener("message", ({ data }: MessageEvent<FreeRunRequest>) => {
  void answer(data).then((answered) => postMessage(answered));
});
