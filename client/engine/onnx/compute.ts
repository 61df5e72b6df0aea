/**
 * One thread's part of the ONNX engine: its sessions, its copy of the weights, and the integer sum of the micro-batches
 * that it was handed. What several of them have summed can be added up in any order.
 */

import { blockCount, roundScalar, scalarLimit } from "../../../shared/codec/index.ts";
import { parameterLength, sizeOf } from "../../../shared/graph/index.ts";
import { evaluationSums } from "../../../shared/graph/parameters.ts";
import { fillDropoutMask } from "../../../shared/random/index.ts";
import {
  type Contribution,
  EngineError,
  type EngineErrorCode,
  type EngineOptions,
  type MicroBatch,
  type ShardTask,
  type Tensor,
} from "../engine.ts";
import { type LoweredModel, lowerEvaluation, lowerPrediction, lowerTraining } from "./lowering.ts";
import { Rounding } from "./rounding.ts";
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
  /** By the model's input names: views of the weights and of the masks, whose values change in place. */
  readonly held: Readonly<Record<string, OnnxTensor>>;
  /** By mask of the model, flat. */
  readonly masks: readonly Float32Array[];
}

const LOWERINGS = { training: lowerTraining, evaluation: lowerEvaluation, prediction: lowerPrediction } as const;

const NO_TASK: ShardTask = {
  work: "evaluate",
  step: 0,
  microBatches: 1,
  magnitudeBits: 0,
  exponents: new Uint8Array(0),
};

/** Anything thrown as an EngineError; running out of memory has a code of its own, whatever it was to be. */
function toEngineError(code: EngineErrorCode, what: string, cause: unknown): EngineError {
  if (cause instanceof EngineError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  return new EngineError(/memory|alloc/i.test(message) ? "memory" : code, `${what}: ${message}`, { cause });
}

/** Computes one micro-batch at a time; its callers see to that. */
export class OnnxCompute implements PoolMember {
  readonly #runtime: OnnxRuntime;
  readonly #options: EngineOptions;
  readonly #loaded = new Map<ModelKind, Promise<Loaded>>();
  readonly #weights: Float32Array;
  readonly #parameters: readonly OnnxTensor[];
  readonly #rounding: Rounding;
  /** Loss, weight and metrics come first among a model's outputs; of an evaluation all outputs are sums. */
  readonly #scalarCount: number;
  readonly #evaluationCount: number;
  /** Offsets of the parameters that have a gradient, in the order of the training model's outputs. */
  readonly #gradientOffsets: readonly number[];
  #task = NO_TASK;
  /** Loss, weight, metrics and the elements of tables in units of 2⁻²⁴. */
  #scalars: bigint[] = [];

  constructor(runtime: OnnxRuntime, options: EngineOptions) {
    this.#runtime = runtime;
    this.#options = options;
    const { graph } = options;
    const length = parameterLength(graph);
    this.#weights = new Float32Array(length);
    this.#rounding = new Rounding(length);
    // Views: a new version of the weights is one copy.
    this.#parameters = graph.parameters.map(({ offset, shape }) =>
      runtime.createTensor("float32", this.#weights.subarray(offset, offset + sizeOf(shape)), shape),
    );
    this.#scalarCount = 2 + Object.keys(graph.outputs.metrics).length;
    this.#evaluationCount = 2 + evaluationSums(graph);
    this.#gradientOffsets = graph.parameters
      .filter((_, index) => graph.gradients[index] !== null)
      .map(({ offset }) => offset);
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
    this.#task = task;
    if (task.work === "calibrate") this.#rounding.begin();
    if (task.work === "gradient") {
      const { exponents } = task;
      const blocks = blockCount(this.#weights.length);
      if (exponents.length !== blocks) {
        const problem = `${exponents.length} exponents were announced, this graph has ${blocks} blocks`;
        throw new EngineError("failed", problem);
      }
      this.#rounding.begin(exponents);
    }
    this.#scalars = [];
  }

  async run({ inputs, position }: MicroBatch): Promise<void> {
    const { work, step, microBatches, magnitudeBits } = this.#task;
    const loaded = await this.#load(work === "evaluate" ? "evaluation" : "training");
    for (const [at, { layer, probability, units }] of loaded.model.masks.entries()) {
      const { microBatch, seed } = this.#options;
      fillDropoutMask(seed, step, layer, probability, position, microBatch, units, loaded.masks[at]);
    }
    const results = await this.#execute(loaded, inputs);
    const limit = scalarLimit(microBatches);
    let at = 0;
    for (const sums of work === "evaluate" ? results : results.slice(0, this.#scalarCount)) {
      for (const value of sums) {
        this.#scalars[at] = (this.#scalars[at] ?? 0n) + roundScalar(value, limit);
        at += 1;
      }
    }
    if (work === "evaluate") return;
    for (const [at, offset] of this.#gradientOffsets.entries()) {
      this.#rounding.gradient.set(results[this.#scalarCount + at], offset);
    }
    if (work === "calibrate") this.#rounding.measure();
    else this.#rounding.accumulate(magnitudeBits);
  }

  /** Nothing is left of the shard here. */
  async take(): Promise<Contribution> {
    const { work } = this.#task;
    const length = work === "evaluate" ? this.#evaluationCount : this.#scalarCount;
    const [loss, weight, ...metrics] = Array.from({ length }, (_, at) => this.#scalars[at] ?? 0n);
    const contribution = { ...this.#rounding.take(work), loss, weight, metrics };
    await this.begin(NO_TASK);
    return contribution;
  }

  async predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array> {
    const { microBatch, graph } = this.#options;
    const inputs = graph.inputs.flatMap(({ name, dtype, role }, index) => {
      if (role !== "feature") return [];
      const size = this.#inputSize(index) / microBatch;
      const values = features[name];
      if (values?.length !== size * samples) {
        const came = values === undefined ? "nothing" : `${values.length} values`;
        throw new EngineError(
          "failed",
          `feature ${name} of ${samples} samples has ${size * samples} values, ${came} came`,
        );
      }
      return [{ name, dtype, size, values }];
    });
    const loaded = await this.#load("prediction");
    const parts: Float32Array[] = [];
    for (let from = 0; from < samples; from += microBatch) {
      const count = Math.min(microBatch, samples - from);
      const batch: Record<string, Tensor> = {};
      for (const { name, dtype, size, values } of inputs) {
        const padded = dtype === "int32" ? new Int32Array(size * microBatch) : new Float32Array(size * microBatch);
        padded.set(values.subarray(from * size, (from + count) * size));
        batch[name] = padded;
      }
      const [output] = await this.#execute(loaded, batch);
      parts.push(output.subarray(0, (output.length / microBatch) * count));
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
    let loaded = this.#loaded.get(kind);
    if (loaded === undefined) {
      loaded = this.#compile(kind);
      this.#loaded.set(kind, loaded);
      loaded.catch(() => this.#loaded.delete(kind)); // the next call tries again: memory may be free by then
    }
    return loaded;
  }

  async #compile(kind: ModelKind): Promise<Loaded> {
    const { graph, microBatch } = this.#options;
    try {
      const model = LOWERINGS[kind](graph, microBatch);
      const session = await this.#runtime.createSession(model.bytes);
      const masks = model.masks.map(({ shape }) => new Float32Array(sizeOf(shape)));
      const held: Record<string, OnnxTensor> = {};
      for (const [index, name] of model.parameters.entries()) if (name !== null) held[name] = this.#parameters[index];
      for (const [index, { name, shape }] of model.masks.entries()) {
        held[name] = this.#runtime.createTensor("float32", masks[index], shape);
      }
      return { model, session, held, masks };
    } catch (cause) {
      throw toEngineError("compile", `onnxruntime cannot take the ${kind} model`, cause);
    }
  }

  /** Values of a graph input in one micro-batch. */
  #inputSize(index: number): number {
    return sizeOf(this.#inputShape(index));
  }

  #inputShape(index: number): readonly number[] {
    const { graph, microBatch } = this.#options;
    return graph.inputs[index].shape.map((size) => (size === "N" ? microBatch : size));
  }

  /** The model's outputs in their order, flat. Throws EngineError `memory` or `failed`. */
  async #execute({ model, session, held }: Loaded, inputs: Readonly<Record<string, Tensor>>): Promise<Float32Array[]> {
    const feeds = { ...held };
    try {
      for (const [index, { name, dtype }] of this.#options.graph.inputs.entries()) {
        const to = model.inputs[index];
        if (to === null) continue;
        const shape = this.#inputShape(index);
        const data = inputs[name];
        if (data?.length !== sizeOf(shape)) {
          const came = data === undefined ? "nothing" : `${data.length} values`;
          throw new EngineError("failed", `input ${name} of a micro-batch is [${shape.join(", ")}], ${came} came`);
        }
        feeds[to] = this.#runtime.createTensor(dtype, data, shape);
      }
      const results = await session.run(feeds);
      return model.outputs.map((name) => results[name].data as Float32Array);
    } catch (cause) {
      throw toEngineError("failed", "onnxruntime failed", cause);
    }
  }
}
