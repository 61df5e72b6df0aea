/**
 * Runs graphs on the GPU with chosen values kept, and compares them with the float64 reference. Below the engine: it sees
 * every value of a graph, which the engine's interface does not show.
 */

import { EngineError } from "../../client/engine/engine.ts";
import type { WebGpuDevice } from "../../client/engine/webgpu/engine.ts";
import { HEADER, keyWord, layoutOf } from "../../client/engine/webgpu/layout.ts";
import { allocate } from "../../client/engine/webgpu/memory.ts";
import { planProgram, type Sink } from "../../client/engine/webgpu/plan.ts";
import { type Counters, compile, run } from "../../client/engine/webgpu/program.ts";
import { type Tuning, tuningFor } from "../../client/engine/webgpu/tuning.ts";
import { inferShapes, sizeOf, type TrainingGraph, type ValueId } from "../../shared/graph/index.ts";
import { deriveKey } from "../../shared/random/index.ts";

export type Inputs = Readonly<Record<string, ArrayLike<number>>>;

export interface RunOptions {
  readonly microBatch: number;
  readonly inputs: Inputs;
  readonly weights?: ArrayLike<number>;
  readonly context?: { readonly seed: number; readonly step: number; readonly position: number };
  readonly tuning?: Tuning;
  /** What else the program does, such as what the engine's own one does. */
  readonly sinks?: readonly (readonly [ValueId, Sink])[];
  /** Most operations of one submit. */
  readonly submitWork?: number;
  /** Counts what was done. */
  readonly counters?: Counters;
}

export const noCounts = (): Counters => ({
  microBatches: 0,
  dispatches: 0,
  submits: 0,
  uploadedBytes: 0,
  readBytes: 0,
});

/** Values by id, as the GPU computed them; float32. */
export async function runOnGpu(
  { device, fallback }: WebGpuDevice,
  graph: TrainingGraph,
  wanted: readonly ValueId[],
  options: RunOptions,
): Promise<Map<ValueId, Float32Array>> {
  const { microBatch, inputs, weights, tuning = tuningFor(fallback), sinks = [] } = options;
  const { context = { seed: 0, step: 0, position: 0 } } = options;
  const { submitWork = Number.POSITIVE_INFINITY, counters = noCounts() } = options;
  const layout = layoutOf(graph, microBatch);
  const keep = [...new Set(wanted)].map((id): [ValueId, Sink] => [id, { kind: "keep" }]);
  const plan = planProgram(graph, layout, tuning, [...sinks, ...keep]);
  device.pushErrorScope("validation");
  const memory = await allocate(device, layout, plan.arenaWords, plan.arenaWords);
  const program = await compile(device, memory, plan);
  const words = new Uint32Array(layout.inputWords);
  words[HEADER.position] = context.position;
  for (const [index, layer] of layout.layers.entries()) {
    words.set(deriveKey(context.seed, "dropout", context.step, layer), keyWord(index));
  }
  for (const { name, offset, integer } of layout.inputs) {
    const values = inputs[name];
    if (values !== undefined)
      (integer ? new Int32Array(words.buffer) : new Float32Array(words.buffer)).set(values, offset);
  }
  device.queue.writeBuffer(memory.buffers.input, 0, words);
  if (weights !== undefined) device.queue.writeBuffer(memory.buffers.weights, 0, Float32Array.from(weights));
  run(device, program, submitWork, counters);
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(memory.buffers.arena, 0, memory.staging, 0, memory.buffers.arena.size);
  device.queue.submit([encoder.finish()]);
  const error = await device.popErrorScope();
  if (error !== null) throw new EngineError("failed", error.message);
  await memory.staging.mapAsync(GPUMapMode.READ);
  const arena = new Float32Array(memory.staging.getMappedRange().slice(0));
  memory.destroy();
  const shapes = inferShapes(graph, microBatch);
  return new Map(
    [...plan.kept].map(([id, { offset }]) => [id, arena.slice(offset, offset + sizeOf(shapes[id].shape))]),
  );
}

/** ‖a − b‖ / ‖b‖, and the absolute norm where b is 0. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let at = 0; at < b.length; at++) {
    difference += (a[at] - b[at]) ** 2;
    norm += b[at] ** 2;
  }
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  const error = Math.sqrt(difference / (norm > 0 ? norm : 1));
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
}

/** Numbers in [−1, 1) from a seed. */
export function numbers(seed: number, count: number): Float32Array {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0 || 1;
  return Float32Array.from({ length: count }, () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 31 - 1;
  });
}
