/**
 * One thread's part of the ONNX engine: its sessions, its copy of the weights, and the integer sum of the micro-batches
 * that it was handed, all in the runtime's memory, where each tensor has a fixed place. What several of them have summed can be added up in any order.
 */

import { roundScalar, scalarLimit } from "../../../shared/codec/index.ts";
import { parameterLength, sizeOf } from "../../../shared/graph/index.ts";
import { evaluationSums } from "../../../shared/graph/parameters.ts";
import { fillDropoutMask } from "../../../shared/random/index.ts";
import { isBytes, lengthOf } from "../bytes.ts";
import {
  type Bytes,
  type Contribution,
  EngineError,
  type EngineErrorCode,
  type EngineOptions,
  type Input,
  type MicroBatch,
  type ShardTask,
  type Tensor,
} from "../engine.ts";
import { kernelsOver } from "./kernels.ts";
import { type LoweredModel, lowerEvaluation, lowerPrediction, lowerTraining, type MaskInput } from "./lowering.ts";
import { Rounding } from "./rounding.ts";
import type { Block, OnnxRuntime, OnnxSession, PlacedTensor } from "./runtime.ts";
import type { Turns } from "./turns.ts";

/**
 * Everything that a pool member can be asked to do; the engine talks to members in the same thread and in others alike. Calls
 * are carried out one after the other, in the order in which they were made.
 */
export interface PoolMember {
  /** Micro-batches that it may be handed before the first of them is computed. */
  readonly queue: number;
  /** Resolves when the weights were copied: `take` and `predict` tell if they did not fit. */
  setWeights(weights: Float32Array): Promise<void>;
  begin(task: ShardTask): Promise<void>;
  run(microBatch: MicroBatch): Promise<void>;
  /** @param into an array for the sums, which becomes the contribution's */
  take(into?: Int32Array): Promise<Contribution>;
  predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array>;
  dispose(): Promise<void>;
}

type ModelKind = "training" | "evaluation" | "prediction";

/** A compiled model and the places of its tensors. */
interface Loaded {
  readonly session: OnnxSession;
  readonly run: () => Promise<void>;
  /** By index of the graph's inputs; null where the model does not read one. */
  readonly inputs: readonly (Tensor | null)[];
  /** Writes the values of bytes to the place of an input. */
  readonly expand: (bytes: Bytes, place: Tensor) => void;
  readonly masks: readonly { readonly of: MaskInput; readonly values: Float32Array }[];
  /** In the model's order, gradients left out: those are in the flat gradient. */
  readonly outputs: readonly Float32Array[];
  readonly block: Block;
}

const LOWERINGS = { training: lowerTraining, evaluation: lowerEvaluation, prediction: lowerPrediction } as const;

const NO_TASK: ShardTask = {
  work: "evaluate",
  step: 0,
  microBatches: 1,
  magnitudeBits: 0,
  exponents: new Uint8Array(0),
};

const nothingSummed = () => ({ sums: new Int32Array(0), maxima: new Uint8Array(0), clamped: 0 });

/** Anything thrown as an EngineError; running out of memory has a code of its own, whatever it was to be. */
function toEngineError(code: EngineErrorCode, what: string, cause: unknown): EngineError {
  if (cause instanceof EngineError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  return new EngineError(/memory|alloc/i.test(message) ? "memory" : code, `${what}: ${message}`, { cause });
}

const WORD = 4;
const ALIGNMENT = 16;
/** Floats that are computed with at a time. */
const LANES = 4;
const aligned = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

export class OnnxCompute implements PoolMember {
  /** Inputs are read when it is their turn, and their owner fills them again after one more. */
  readonly queue = 1;
  readonly #runtime: OnnxRuntime;
  readonly #options: EngineOptions;
  /** Null in a thread that does nothing else. */
  readonly #turns: Turns | null;
  readonly #loaded = new Map<ModelKind, Promise<Loaded>>();
  readonly #weightsBlock: Block;
  /** The flat weights: models read their parameters where they lie here. */
  readonly #weights: Float32Array;
  /** Made when something is to be summed. */
  #rounding: Rounding | null = null;
  /** Loss, weight and metrics come first among a model's outputs; of an evaluation all outputs are sums. */
  readonly #scalarCount: number;
  readonly #evaluationCount: number;
  #task = NO_TASK;
  /** Loss, weight, metrics and the elements of tables in units of 2⁻²⁴. */
  #scalars: bigint[] = [];
  /** The call before. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(runtime: OnnxRuntime, options: EngineOptions, turns: Turns | null = null) {
    this.#runtime = runtime;
    this.#options = options;
    this.#turns = turns;
    const { graph } = options;
    const length = parameterLength(graph);
    this.#weightsBlock = runtime.allocate(length * WORD);
    const { memory, address } = this.#weightsBlock;
    this.#weights = new Float32Array(memory.buffer, address, length);
    this.#scalarCount = 2 + Object.keys(graph.outputs.metrics).length;
    this.#evaluationCount = 2 + evaluationSums(graph);
  }

  /** Compiles the model for gradients, so that the first micro-batch need not wait. Throws EngineError `compile`. */
  async prepare(): Promise<void> {
    await this.#load("training");
  }

  setWeights(weights: Float32Array): Promise<void> {
    return this.#inTurn(async () => {
      if (weights.length !== this.#weights.length) {
        throw new EngineError("failed", `${weights.length} weights came, the graph has ${this.#weights.length}`);
      }
      this.#weights.set(weights);
    });
  }

  begin(task: ShardTask): Promise<void> {
    this.#turns?.begin();
    return this.#inTurn(async () => {
      this.#task = task;
      this.#scalars = [];
      if (task.work !== "evaluate") this.#sum().begin(task.exponents);
    });
  }

  run(microBatch: MicroBatch): Promise<void> {
    return this.#inTurn(async () => {
      const { work, step, microBatches, magnitudeBits } = this.#task;
      const loaded = await this.#load(work === "evaluate" ? "evaluation" : "training");
      for (const { of, values } of loaded.masks) {
        const { microBatch: samples, seed } = this.#options;
        fillDropoutMask(seed, step, of.layer, of.probability, microBatch.position, samples, of.units, values);
      }
      await this.#execute(loaded, microBatch.inputs);
      const limit = scalarLimit(microBatches);
      let at = 0;
      for (const sums of loaded.outputs) {
        for (const value of sums) {
          this.#scalars[at] = (this.#scalars[at] ?? 0n) + roundScalar(value, limit);
          at += 1;
        }
      }
      if (work === "calibrate") this.#sum().measure();
      if (work === "gradient") this.#sum().accumulate(magnitudeBits);
    });
  }

  /** Nothing is left of the shard here. */
  take(into?: Int32Array): Promise<Contribution> {
    return this.#inTurn(async () => {
      const { work } = this.#task;
      const length = work === "evaluate" ? this.#evaluationCount : this.#scalarCount;
      const [loss, weight, ...metrics] = Array.from({ length }, (_, at) => this.#scalars[at] ?? 0n);
      const sums = work === "evaluate" ? nothingSummed() : this.#sum().take(work, into);
      this.#task = NO_TASK;
      this.#scalars = [];
      return { ...sums, loss, weight, metrics };
    });
  }

  predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array> {
    this.#turns?.begin();
    return this.#inTurn(() => this.#predict(features, samples));
  }

  async dispose(): Promise<void> {
    await this.#last;
    const loaded = await Promise.allSettled(this.#loaded.values());
    this.#loaded.clear();
    for (const result of loaded) {
      if (result.status === "rejected") continue;
      await result.value.session.release();
      result.value.block.free();
    }
    this.#rounding?.free();
    this.#weightsBlock.free();
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => {}); // whoever made the call hears of it
    return result;
  }

  #sum(): Rounding {
    this.#rounding ??= new Rounding(this.#weights.length, (bytes) => this.#runtime.allocate(bytes));
    return this.#rounding;
  }

  async #predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array> {
    const { microBatch, graph } = this.#options;
    const inputs = graph.inputs.flatMap(({ name, dtype, role }, index) => {
      if (role !== "feature") return [];
      const size = sizeOf(this.#inputShape(index)) / microBatch;
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
    const [output] = loaded.outputs;
    const width = output.length / microBatch;
    const whole = new Float32Array(width * samples);
    for (let from = 0; from < samples; from += microBatch) {
      const count = Math.min(microBatch, samples - from);
      const batch: Record<string, Tensor> = {};
      for (const { name, dtype, size, values } of inputs) {
        const padded = dtype === "int32" ? new Int32Array(size * microBatch) : new Float32Array(size * microBatch);
        padded.set(values.subarray(from * size, (from + count) * size));
        batch[name] = padded;
      }
      await this.#execute(loaded, batch);
      whole.set(output.subarray(0, width * count), width * from);
    }
    return whole;
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
      try {
        return this.#place(kind, model, session);
      } catch (error) {
        await session.release();
        throw error;
      }
    } catch (cause) {
      throw toEngineError("compile", `onnxruntime cannot take the ${kind} model`, cause);
    }
  }

  /** Gives every tensor of a model its place: parameters and gradients theirs in the flat arrays, the others one block. */
  #place(kind: ModelKind, model: LoweredModel, session: OnnxSession): Loaded {
    const { graph } = this.#options;
    const inputs = graph.inputs.map(({ dtype }, index) => ({
      name: model.inputs[index],
      dtype,
      shape: this.#inputShape(index),
    }));
    // Those that are gradients, in the order of the parameters that have one.
    const gradients = kind === "training" ? graph.parameters.filter((_, index) => graph.gradients[index] !== null) : [];
    const ownOutputs = model.outputs.slice(0, model.outputs.length - gradients.length);
    const sizes = [
      ...inputs.map(({ name, shape }) => (name === null ? 0 : sizeOf(shape))),
      ...model.masks.map(({ shape }) => sizeOf(shape)),
      ...ownOutputs.map((_, index) => sizeOf(model.outputTypes[index].shape)),
    ];
    const stored = Math.max(
      ...inputs.map(({ name, dtype, shape }) => (name === null || dtype === "int32" ? 0 : sizeOf(shape))),
    );
    const tensors = sizes.reduce((sum, size) => sum + aligned(size * WORD), 0);
    const block = this.#runtime.allocate(tensors + aligned(stored));
    const bytes = new Uint8Array(block.memory.buffer, block.address + tensors, stored);
    const kernels = kernelsOver(block.memory);
    const expand: Loaded["expand"] = (data, { byteOffset, length }) => {
      bytes.set(data.bytes);
      // Both have room up to a whole number of lanes.
      const count = Math.ceil(length / LANES) * LANES;
      kernels.expand(bytes.byteOffset, byteOffset, count, data.scale, data.offset);
    };
    let next = block.address;
    const place = (dtype: "float32" | "int32", shape: readonly number[]): Tensor => {
      const size = sizeOf(shape);
      const at = next;
      next += aligned(size * WORD);
      return new (dtype === "int32" ? Int32Array : Float32Array)(block.memory.buffer, at, size);
    };
    const fed: PlacedTensor[] = [];
    const inputValues = inputs.map(({ name, dtype, shape }) => {
      if (name === null) return null;
      const values = place(dtype, shape);
      fed.push({ name, shape, values });
      return values;
    });
    const masks = model.masks.map((of) => {
      const values = place("float32", of.shape) as Float32Array;
      fed.push({ name: of.name, shape: of.shape, values });
      return { of, values };
    });
    for (const [index, { offset, shape }] of graph.parameters.entries()) {
      const name = model.parameters[index];
      if (name !== null) fed.push({ name, shape, values: this.#weights.subarray(offset, offset + sizeOf(shape)) });
    }
    const results: PlacedTensor[] = ownOutputs.map((name, index) => {
      const { dtype, shape } = model.outputTypes[index];
      return { name, shape, values: place(dtype, shape) };
    });
    const outputs = results.map(({ values }) => values as Float32Array);
    for (const [index, { offset, shape }] of gradients.entries()) {
      const values = this.#sum().gradient.subarray(offset, offset + sizeOf(shape));
      results.push({ name: model.outputs[ownOutputs.length + index], shape, values });
    }
    return { session, run: session.bind(fed, results), inputs: inputValues, expand, masks, outputs, block };
  }

  #inputShape(index: number): readonly number[] {
    const { graph, microBatch } = this.#options;
    return graph.inputs[index].shape.map((size) => (size === "N" ? microBatch : size));
  }

  /** Fills the outputs. Throws EngineError `memory` or `failed`. */
  async #execute(loaded: Loaded, inputs: Readonly<Record<string, Input>>): Promise<void> {
    await this.#turns?.pass();
    for (const [index, place] of loaded.inputs.entries()) {
      if (place === null) continue;
      const { name } = this.#options.graph.inputs[index];
      const data = inputs[name];
      if (data === undefined || lengthOf(data) !== place.length) {
        const came = data === undefined ? "nothing" : `${lengthOf(data)} values`;
        const shape = this.#inputShape(index).join(", ");
        throw new EngineError("failed", `input ${name} of a micro-batch is [${shape}], ${came} came`);
      }
      if (isBytes(data)) loaded.expand(data, place);
      else place.set(data);
    }
    try {
      await loaded.run();
    } catch (cause) {
      throw toEngineError("failed", "onnxruntime failed", cause);
    }
  }
}
