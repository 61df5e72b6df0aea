/**
 * The WebGPU engine: a shard's micro-batches run through one static program, rounding and adding happen on the GPU, and the
 * sum is read back once. On the host remain the queue, the clock that paces it and the scalars' 64-bit sums.
 */

import { ANNOUNCED_RANGE } from "../../../shared/codec/envelope.ts";
import { gridScale } from "../../../shared/codec/fixed.ts";
import { roundScalar, scalarLimit } from "../../../shared/codec/scalar.ts";
import type { Graph, TrainingGraph, ValueId } from "../../../shared/graph/ir.ts";
import { metricNames, tableSizes } from "../../../shared/graph/parameters.ts";
import { inferenceGraph, predictionNodes } from "../../../shared/graph/prune.ts";
import { deriveKey } from "../../../shared/random/keys.ts";
import { expandBytes, isBytes, lengthOf } from "../bytes.ts";
import {
  type Contribution,
  EngineError,
  type EngineOptions,
  type GradientEngine,
  type Input,
  type MicroBatch,
  type ShardTask,
  type Tensor,
} from "../engine.ts";
import type { WebGpuDevice } from "./device.ts";
import { HEADER, keyWord, type Layout, layoutOf, slotsOf } from "./layout.ts";
import { allocate, type Memory } from "./memory.ts";
import { Pace } from "./pace.ts";
import { type Plan, planProgram, productsOf, type Sink } from "./plan.ts";
import { createVariantMemory, probe, type VariantMemory } from "./probe.ts";
import { type Counters, compile, type Pipelines, type Program, run } from "./program.ts";
import { type Tuning, tuningFor } from "./tuning.ts";

export interface WebGpuEngineOptions extends EngineOptions, WebGpuDevice {
  /** Leaves the device alive when the engine is disposed of; otherwise the engine owns it. */
  readonly keepDevice?: boolean;
  /** What was measured of adapters; without it, it is remembered until the process ends. */
  readonly variants?: VariantMemory;
}

const processMemory = createVariantMemory();

interface Plans {
  readonly train: Plan;
  readonly evaluate: Plan;
  readonly predict: Plan;
}

type PlanName = keyof Plans;

/** The tables of an evaluation, after its scalars. */
function tableSinks(graph: Graph): [ValueId, Sink][] {
  let index = 2 + metricNames(graph).length;
  return tableSizes(graph).map(({ value, elements }) => {
    const sink: [ValueId, Sink] = [value, { kind: "scalar", index }];
    index += elements;
    return sink;
  });
}

/** The scalars in the order in which they are read back. */
export function scalarSinks(graph: Graph): [ValueId, Sink][] {
  const { loss, weight, metrics } = graph.outputs;
  const ids = [loss, weight, ...metricNames(graph).map((name) => metrics[name])];
  return ids.map((id, index) => [id, { kind: "scalar", index }]);
}

export function gradientSinks({ gradients, parameters }: TrainingGraph): [ValueId, Sink][] {
  return gradients.flatMap((id, index): [ValueId, Sink][] =>
    id === null ? [] : [[id, { kind: "gradient", offset: parameters[index].offset }]],
  );
}

/** The three programs of a session. */
export function planSession(graph: TrainingGraph, layout: Layout, tuning: Tuning): Plans {
  const inference = inferenceGraph(graph);
  const { nodes, prediction } = predictionNodes(inference);
  return {
    train: planProgram(graph, layout, tuning, [...scalarSinks(graph), ...gradientSinks(graph)]),
    evaluate: planProgram(inference, { ...layout, scalars: layout.evaluationScalars }, tuning, [
      ...scalarSinks(inference),
      ...tableSinks(inference),
    ]),
    predict: planProgram({ ...inference, nodes }, layout, tuning, [[prediction, { kind: "keep" }]]),
  };
}

/** The open shard. */
interface Shard {
  readonly task: ShardTask;
  /** Micro-batches handed to the GPU, and those of them whose scalars are still there. */
  microBatches: number;
  slots: number;
  /** Loss, weight, metrics, and for evaluations the elements of the tables. */
  readonly scalars: bigint[];
}

const WORD = 4;

/** Milliseconds. Firefox looks every 100 ms whether the GPU is done, and at every submit: empty ones make it look sooner. */
const NUDGE_INTERVAL = 4;

class WebGpuEngine implements GradientEngine {
  readonly kind = "webgpu";
  readonly device: string;
  readonly counters: Counters = { microBatches: 0, dispatches: 0, submits: 0, uploadedBytes: 0, readBytes: 0 };
  readonly #gpu: GPUDevice;
  readonly #keepDevice: boolean;
  readonly #seed: number;
  readonly #layout: Layout;
  readonly #memory: Memory;
  readonly #plans: Plans;
  readonly #programs: Partial<Record<PlanName, Promise<Program>>> = {};
  readonly #pipelines: Pipelines = new Map();
  readonly #pace = new Pace();
  /** The input buffer's next content. */
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #floats: Float32Array<ArrayBuffer>;
  readonly #integers: Int32Array<ArrayBuffer>;
  readonly #scales: Float32Array<ArrayBuffer>;
  #shard: Shard | null = null;
  #failure: EngineError | null = null;
  #disposed = false;

  constructor(options: WebGpuEngineOptions, layout: Layout, plans: Plans, memory: Memory) {
    this.device = options.description;
    this.#gpu = options.device;
    this.#keepDevice = options.keepDevice ?? false;
    this.#seed = options.seed;
    this.#layout = layout;
    this.#plans = plans;
    this.#memory = memory;
    this.#words = new Uint32Array(layout.inputWords);
    this.#floats = new Float32Array(this.#words.buffer);
    this.#integers = new Int32Array(this.#words.buffer);
    this.#scales = new Float32Array(layout.blocks);
    this.#gpu.addEventListener("uncapturederror", this.#onError);
    void this.#gpu.lost.then(({ message }) => {
      if (!this.#disposed) this.#failure = new EngineError("lost", `the GPU device was lost: ${message}`);
    });
  }

  readonly #onError = ({ error }: GPUUncapturedErrorEvent): void => {
    this.#failure ??= engineErrorOf(error);
  };

  /** Compiles a program when it is first needed. */
  program(name: PlanName): Promise<Program> {
    const held = this.#programs[name];
    if (held !== undefined) return held;
    const compiling = compile(this.#gpu, this.#memory, this.#plans[name], this.#pipelines);
    this.#programs[name] = compiling;
    return this.#guard(compiling);
  }

  async setWeights(weights: Float32Array): Promise<void> {
    this.#check();
    const { parameters } = this.#layout;
    if (weights.length !== parameters) {
      throw new EngineError("failed", `${weights.length} weights came, this graph has ${parameters}`);
    }
    this.#upload(this.#memory.buffers.weights, weights);
  }

  begin(task: ShardTask): void {
    this.#check();
    const { buffers } = this.#memory;
    if (task.work !== "evaluate") this.#setGrid(task);
    const encoder = this.#gpu.createCommandEncoder();
    encoder.clearBuffer(buffers.stats);
    this.#submit(encoder);
    const { scalars, evaluationScalars } = this.#layout;
    const count = task.work === "evaluate" ? evaluationScalars : scalars;
    this.#shard = { task, microBatches: 0, slots: 0, scalars: new Array<bigint>(count).fill(0n) };
  }

  /** The rounding grid and what else stays the same for a shard. Calibration rounds everything to 0. */
  #setGrid({ work, magnitudeBits, exponents, step }: ShardTask): void {
    const { blocks, layers } = this.#layout;
    const counts = work === "gradient";
    if (counts && exponents.length !== blocks) {
      throw new EngineError("failed", `${exponents.length} exponents were announced, this graph has ${blocks} blocks`);
    }
    const { least, most } = ANNOUNCED_RANGE;
    for (let block = 0; block < blocks; block++) {
      const exponent = exponents[block];
      if (counts && (exponent < least || exponent > most)) {
        throw new EngineError("failed", `exponent ${exponent} was announced, expected ${least} to ${most}`);
      }
      this.#scales[block] = counts ? gridScale(magnitudeBits, exponent) : 0;
    }
    this.#upload(this.#memory.buffers.scales, this.#scales);
    const limit = 2 ** magnitudeBits;
    this.#floats[HEADER.limitFloat] = limit;
    this.#integers[HEADER.limit] = limit - 1;
    for (const [index, layer] of layers.entries())
      this.#words.set(deriveKey(this.#seed, "dropout", step, layer), keyWord(index));
  }

  async accumulate(microBatch: MicroBatch): Promise<void> {
    const shard = this.#open();
    const program = await this.program(shard.task.work === "evaluate" ? "evaluate" : "train");
    await this.#guard(this.#pace.room(program.work));
    if (shard.slots === slotsOf(this.#layout, shard.scalars.length)) await this.#drain(shard);
    this.#words[HEADER.adds] = shard.microBatches > 0 ? 1 : 0;
    this.#words[HEADER.slot] = shard.slots;
    this.#words[HEADER.position] = microBatch.position;
    for (const { name, offset, length, integer } of this.#layout.inputs) {
      this.#fill(name, microBatch.inputs[name], offset, length, integer);
    }
    this.#run(program);
    shard.microBatches += 1;
    shard.slots += 1;
    this.counters.microBatches += 1;
  }

  #fill(name: string, input: Input | undefined, offset: number, length: number, integer: boolean): void {
    const came = input === undefined ? 0 : lengthOf(input);
    if (input === undefined || came !== length) {
      throw new EngineError("failed", `input ${name} has ${came} values, expected ${length}`);
    }
    if (isBytes(input)) expandBytes(input, this.#floats.subarray(offset));
    else (integer ? this.#integers : this.#floats).set(input, offset);
  }

  #run(program: Program): void {
    this.#upload(this.#memory.buffers.input, this.#words);
    run(this.#gpu, program, this.#pace.submitWork, this.counters);
    this.#pace.started(program.work, this.#gpu.queue.onSubmittedWorkDone());
  }

  idle(): Promise<void> {
    return this.#guard(this.#pace.idle());
  }

  async take(): Promise<Contribution> {
    const shard = this.#open();
    this.#shard = null;
    const { work } = shard.task;
    const { parameters, blocks, clampedAt } = this.#layout;
    const sumWords = work === "gradient" ? parameters : 0;
    const words = await this.#collect(shard, sumWords);
    // Nothing was put in the place of an earlier shard's sums.
    if (shard.microBatches === 0) words.fill(0, 0, sumWords);
    const stats = words.subarray(sumWords);
    const [loss, weight, ...metrics] = shard.scalars;
    return {
      sums: new Int32Array(words.buffer, 0, sumWords),
      maxima:
        work === "evaluate" ? new Uint8Array(0) : Uint8Array.from({ length: blocks }, (_, at) => stats[at] >>> 23),
      clamped: stats[clampedAt],
      loss,
      weight,
      metrics,
    };
  }

  /** Makes room for more scalars. */
  async #drain(shard: Shard): Promise<void> {
    await this.#collect(shard, 0);
    shard.slots = 0;
  }

  /** Reads the sum's first words and the statistics, and adds the scalars in them to the shard's. */
  async #collect(shard: Shard, sumWords: number): Promise<Uint32Array<ArrayBuffer>> {
    const { buffers } = this.#memory;
    const { scalarsAt } = this.#layout;
    const { length } = shard.scalars;
    const statsWords = scalarsAt + shard.slots * length;
    const words = await this.#read([
      [buffers.sums, 0, sumWords],
      [buffers.stats, 0, statsWords],
    ]);
    const values = new Float32Array(words.buffer, (sumWords + scalarsAt) * WORD);
    const limit = scalarLimit(shard.task.microBatches);
    for (const [index, value] of values.entries()) shard.scalars[index % length] += roundScalar(value, limit);
    return words;
  }

  async predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array> {
    this.#check();
    const program = await this.program("predict");
    const { microBatch, inputs } = this.#layout;
    const [{ offset, length }] = program.plan.kept.values();
    const width = length / microBatch;
    const predictions = new Float32Array(samples * width);
    this.#words.fill(0);
    for (let first = 0; first < samples; first += microBatch) {
      const count = Math.min(microBatch, samples - first);
      for (const place of inputs) {
        const values = features[place.name];
        if (values === undefined) continue;
        const row = place.length / microBatch;
        if (values.length !== samples * row) {
          throw new EngineError("failed", `input ${place.name} has ${values.length} values, expected ${samples * row}`);
        }
        const part = values.subarray(first * row, (first + count) * row);
        this.#fill(place.name, part, place.offset, count * row, place.integer);
      }
      this.#run(program);
      const words = await this.#read([[this.#memory.buffers.arena, offset, length]]);
      predictions.set(new Float32Array(words.buffer, 0, count * width), first * width);
    }
    return predictions;
  }

  /** Copies parts of buffers to the host, one after another: one submit, one mapping. */
  async #read(
    parts: readonly (readonly [buffer: GPUBuffer, offset: number, words: number])[],
  ): Promise<Uint32Array<ArrayBuffer>> {
    const { staging } = this.#memory;
    const encoder = this.#gpu.createCommandEncoder();
    let total = 0;
    for (const [buffer, offset, words] of parts) {
      if (words === 0) continue;
      encoder.copyBufferToBuffer(buffer, offset * WORD, staging, total * WORD, words * WORD);
      total += words;
    }
    this.#submit(encoder);
    const bytes = total * WORD;
    await this.#guard(staging.mapAsync(GPUMapMode.READ, 0, bytes));
    const copy = staging.getMappedRange(0, bytes).slice(0);
    staging.unmap();
    this.counters.readBytes += bytes;
    return new Uint32Array(copy);
  }

  #upload(buffer: GPUBuffer, values: Float32Array | Uint32Array): void {
    this.#gpu.queue.writeBuffer(buffer, 0, values as GPUAllowSharedBufferSource);
    this.counters.uploadedBytes += values.byteLength;
  }

  #submit(encoder: GPUCommandEncoder): void {
    this.#gpu.queue.submit([encoder.finish()]);
    this.counters.submits += 1;
  }

  #open(): Shard {
    this.#check();
    if (this.#shard === null) throw new EngineError("failed", "no shard is open");
    return this.#shard;
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure;
    if (this.#disposed) throw new EngineError("failed", "this engine was disposed of");
  }

  /** Waits; whatever goes wrong meanwhile becomes an EngineError. */
  async #guard<Result>(promise: Promise<Result>): Promise<Result> {
    const nudge = setInterval(() => this.#gpu.queue.submit([]), NUDGE_INTERVAL);
    try {
      const result = await promise;
      this.#check();
      return result;
    } catch (cause) {
      // A lost device rejects what waits for it before it says that it is lost.
      await Promise.resolve();
      if (this.#failure !== null) throw this.#failure;
      if (cause instanceof EngineError) throw cause;
      throw new EngineError("failed", cause instanceof Error ? cause.message : String(cause), { cause });
    } finally {
      clearInterval(nudge);
    }
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#gpu.removeEventListener("uncapturederror", this.#onError);
    this.#memory.destroy();
    if (!this.#keepDevice) this.#gpu.destroy();
  }
}

function engineErrorOf(error: GPUError): EngineError {
  const code = error.constructor.name === "GPUOutOfMemoryError" ? "memory" : "failed";
  return new EngineError(code, error.message);
}

export { requestWebGpu, type WebGpuDevice } from "./device.ts";
export type { WebGpuEngine };

/** The default of its kind of adapter, and of real ones what was measured for the graph's largest products. */
async function tune(options: WebGpuEngineOptions, layout: Layout): Promise<Tuning> {
  const { graph, device, adapter, fallback, subgroups, variants = processMemory } = options;
  const tuning = { ...tuningFor(fallback), subgroups };
  if (fallback) return tuning;
  return { ...tuning, choices: await probe(device, adapter, productsOf(graph, layout, tuning), variants) };
}

/** The engine owns the device from here on, also if this fails. Throws EngineError `memory` or `compile`. */
export async function createWebGpuEngine(options: WebGpuEngineOptions): Promise<WebGpuEngine> {
  const { graph, microBatch, device } = options;
  let memory: Memory | undefined;
  try {
    const layout = layoutOf(graph, microBatch);
    const tuning = await tune(options, layout);
    const plans = planSession(graph, layout, tuning);
    const arenaWords = Math.max(...Object.values(plans).map((plan) => plan.arenaWords));
    const [{ length: predictionWords }] = plans.predict.kept.values();
    memory = await allocate(
      device,
      layout,
      arenaWords,
      Math.max(layout.parameters + layout.statsWords, predictionWords),
    );
    const engine = new WebGpuEngine(options, layout, plans, memory);
    await engine.program("train");
    return engine;
  } catch (error) {
    memory?.destroy();
    if (!options.keepDevice) device.destroy();
    if (error instanceof EngineError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new EngineError("compile", `this session's graph cannot be planned: ${why}`, { cause: error });
  }
}
