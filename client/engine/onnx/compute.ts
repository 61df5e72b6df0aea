/**
 * One thread's part of the ONNX engine: its sessions, its copy of the weights, and the integer sum of the micro-batches
 * that it was handed. What several of them have summed can be added up in any order.
 */

import { accumulateFixed, blockCount, measureExponents, roundScalar } from "../../../shared/codec/index.ts";
import { parameterLength, sizeOf } from "../../../shared/graph/index.ts";
import { fillDropoutMask } from "../../../shared/random/index.ts";
import {
  type Contribution,
  EngineError,
  type EngineOptions,
  type MicroBatch,
  type ShardTask,
  type Tensor,
} from "../engine.ts";
import { type LoweredModel, lowerEvaluation, lowerPrediction, lowerTraining } from "./lowering.ts";
import type { OnnxRuntime, OnnxSession, OnnxTensor } from "./runtime.ts";

/** Everything that a pool member can be asked to do; the engine talks to members in the same thread and in others alike. */
export interface PoolMember {
  setWeights(weights: Float32Array): Promise<void>;
  begin(task: ShardTask): Promise<void>;
  run(microBatch: MicroBatch): Promise<void>;
  take(): Promise<Contribution>;
  predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array>;
  dispose(): Promise<void>;
}

type ModelKind = "training" | "evaluation" | "prediction";

interface Loaded {
  readonly model: LoweredModel;
  readonly session: OnnxSession;
}

const LOWERINGS = { training: lowerTraining, evaluation: lowerEvaluation, prediction: lowerPrediction } as const;

const NO_TASK: ShardTask = { work: "evaluate", step: 0, magnitudeBits: 0, exponents: new Uint8Array(0) };

export class OnnxCompute implements PoolMember {
  readonly #runtime: OnnxRuntime;
  readonly #options: EngineOptions;
  readonly #loaded = new Map<ModelKind, Promise<Loaded>>();
  readonly #weights: Float32Array;
  readonly #parameters: readonly OnnxTensor[];
  readonly #gradient: Float32Array;
  #task = NO_TASK;
  #sums = new Int32Array(0);
  #maxima = new Uint8Array(0);
  #clamped = 0;
  /** Loss, weight, metrics in units of 2⁻²⁴. */
  #scalars: bigint[] = [];

  constructor(runtime: OnnxRuntime, options: EngineOptions) {
    this.#runtime = runtime;
    this.#options = options;
    const { graph } = options;
    const length = parameterLength(graph);
    this.#weights = new Float32Array(length);
    this.#gradient = new Float32Array(length);
    // Views: a new version of the weights is one copy.
    this.#parameters = graph.parameters.map(({ offset, shape }) =>
      runtime.createTensor("float32", this.#weights.subarray(offset, offset + sizeOf(shape)), shape),
    );
  }

  /** Compiles the model for gradients, so that the first micro-batch need not wait. Throws EngineError `compile`. */
  async prepare(): Promise<void> {
    await this.#load("training");
  }

  async setWeights(weights: Float32Array): Promise<void> {
    if (weights.length !== this.#weights.length) {
      throw new EngineError("failed", `${weights.length} weights came, the graph has ${this.#weights.length}`);
    }
    this.#weights.set(weights);
  }

  async begin(task: ShardTask): Promise<void> {
    const { length } = this.#weights;
    this.#task = task;
    this.#sums = new Int32Array(task.work === "gradient" ? length : 0);
    this.#maxima = new Uint8Array(task.work === "evaluate" ? 0 : blockCount(length));
    this.#clamped = 0;
    this.#scalars = [];
  }

  async run({ inputs, position }: MicroBatch): Promise<void> {
    const { work, step, exponents, magnitudeBits } = this.#task;
    const { model, session } = await this.#load(work === "evaluate" ? "evaluation" : "training");
    const results = await this.#execute(session, model, inputs, step, position);
    const { gradients, parameters } = this.#options.graph;
    const scalars = results.length - (work === "evaluate" ? 0 : gradients.filter((id) => id !== null).length);
    for (let index = 0; index < scalars; index++) {
      this.#scalars[index] = (this.#scalars[index] ?? 0n) + roundScalar(results[index][0]);
    }
    if (work === "evaluate") return;
    let next = scalars;
    for (const [index, gradient] of gradients.entries()) {
      if (gradient !== null) this.#gradient.set(results[next++], parameters[index].offset);
    }
    if (work === "calibrate") measureExponents(this.#gradient, this.#maxima);
    else this.#clamped += accumulateFixed(this.#gradient, exponents, magnitudeBits, this.#sums, this.#maxima);
  }

  async take(): Promise<Contribution> {
    const count = 2 + Object.keys(this.#options.graph.outputs.metrics).length;
    const [loss, weight, ...metrics] = Array.from({ length: count }, (_, index) => this.#scalars[index] ?? 0n);
    return { sums: this.#sums, maxima: this.#maxima, clamped: this.#clamped, loss, weight, metrics };
  }

  async predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array> {
    const { microBatch, graph } = this.#options;
    const { model, session } = await this.#load("prediction");
    const parts: Float32Array[] = [];
    for (let from = 0; from < samples; from += microBatch) {
      const count = Math.min(microBatch, samples - from);
      const inputs: Record<string, Tensor> = {};
      for (const { name, dtype, role } of graph.inputs) {
        if (role !== "feature") continue;
        const whole = features[name];
        if (whole === undefined) throw new EngineError("failed", `there is no feature ${name} to predict from`);
        const size = whole.length / samples;
        const padded = dtype === "int32" ? new Int32Array(size * microBatch) : new Float32Array(size * microBatch);
        padded.set(whole.subarray(from * size, (from + count) * size));
        inputs[name] = padded;
      }
      const [output] = await this.#execute(session, model, inputs, 0, 0);
      parts.push(output.slice(0, (output.length / microBatch) * count));
    }
    const whole = new Float32Array(parts.reduce((size, part) => size + part.length, 0));
    let end = 0;
    for (const part of parts) {
      whole.set(part, end);
      end += part.length;
    }
    return whole;
  }

  async dispose(): Promise<void> {
    const loaded = await Promise.allSettled(this.#loaded.values());
    this.#loaded.clear();
    for (const result of loaded) if (result.status === "fulfilled") await result.value.session.release();
  }

  #load(kind: ModelKind): Promise<Loaded> {
    const held = this.#loaded.get(kind) ?? this.#compile(kind);
    this.#loaded.set(kind, held);
    return held;
  }

  async #compile(kind: ModelKind): Promise<Loaded> {
    const model = LOWERINGS[kind](this.#options.graph, this.#options.microBatch);
    try {
      return { model, session: await this.#runtime.createSession(model.bytes) };
    } catch (cause) {
      throw new EngineError("compile", `onnxruntime refused the ${kind} model: ${describe(cause)}`, { cause });
    }
  }

  async #execute(
    session: OnnxSession,
    model: LoweredModel,
    inputs: Readonly<Record<string, Tensor>>,
    step: number,
    position: number,
  ): Promise<Float32Array[]> {
    const { graph, microBatch, seed } = this.#options;
    const feeds: Record<string, OnnxTensor> = {};
    for (const [index, { name, dtype, shape }] of graph.inputs.entries()) {
      const to = model.inputs[index];
      if (to === null) continue;
      const data = inputs[name];
      if (data === undefined) throw new EngineError("failed", `the micro-batch has no input ${name}`);
      const bound = shape.map((size) => (size === "N" ? microBatch : size));
      feeds[to] = this.#runtime.createTensor(dtype, data, bound);
    }
    for (const [index, to] of model.parameters.entries()) if (to !== null) feeds[to] = this.#parameters[index];
    for (const { name, layer, probability, units } of model.masks) {
      const mask = new Float32Array(microBatch * units);
      fillDropoutMask(seed, step, layer, probability, position, microBatch, units, mask);
      feeds[name] = this.#runtime.createTensor("float32", mask, [microBatch, units]);
    }
    try {
      const results = await session.run(feeds);
      return model.outputs.map((name) => results[name].data as Float32Array);
    } catch (cause) {
      const message = describe(cause);
      const code = /memory|alloc/i.test(message) ? "memory" : "failed";
      throw new EngineError(code, `onnxruntime failed: ${message}`, { cause });
    }
  }
}

const describe = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
