/**
 * Where micro-batches come from: hosted chunks or the caller's own arrays, behind one interface.
 */

import type { Graph, GraphInput } from "../../shared/graph/ir.ts";
import type { SessionData } from "../../shared/session/definition.ts";
import type { Work } from "../../shared/session/plan.ts";
import type { Tensor } from "../engine/engine.ts";
import { Augmenter } from "./augment.ts";

/** One piece of a step: micro-batch `index` of it, counted from 0. */
export interface Request {
  readonly work: Work;
  readonly step: number;
  readonly index: number;
}

/** Arrays of one micro-batch by graph input name, [N, ...] flat; filled again and again. */
export type Slot = Readonly<Record<string, Tensor>>;

export interface DataSource {
  /** Fills the slot, padding a short micro-batch with its last sample at weight 0. Returns the number of real samples. */
  fill(request: Request, slot: Slot): Promise<number>;
  /** Starts to fetch what these micro-batches need, if that is not at hand. Never throws. */
  prefetch(work: Work, step: number, from: number, to: number): void;
  /** Milliseconds that `fill` has waited for downloads, all in all. */
  readonly waited: number;
  /** Samples of the caller's own, or null for hosted data. */
  readonly localSamples: number | null;
  dispose(): void;
}

/** Elements of one sample of an input: the leading dimension is the micro-batch. */
export function sampleElements(input: GraphInput): number {
  let size = 1;
  for (const dimension of input.shape.slice(1)) size *= dimension as number;
  return size;
}

export function createSlot(graph: Graph, microBatch: number): Slot {
  const slot: Record<string, Tensor> = {};
  for (const input of graph.inputs) {
    const length = microBatch * sampleElements(input);
    slot[input.name] = input.dtype === "int32" ? new Int32Array(length) : new Float32Array(length);
  }
  return slot;
}

/** An array of stored values, as chunks hold them or as a caller passes them. */
export type StoredArray = ArrayLike<number>;

/** One graph input bound to a column: value = stored × scale + offset for float32, unchanged for int32. */
export interface BoundInput {
  readonly name: string;
  /** Position of the column in the session's or the manifest's list. */
  readonly column: number;
  readonly elements: number;
  readonly float: boolean;
  readonly scale: number;
  readonly offset: number;
  /** Values of the 256 bytes that a uint8 column can hold: looked up in a third of the time that a product takes. */
  readonly values: Float32Array;
  /** Rows further on that it reads. */
  readonly shift: number;
  /** What changes its pictures while training; null where they are taken as they are. */
  readonly augmenter: Augmenter | null;
}

export interface Bindings {
  readonly inputs: readonly BoundInput[];
  /** Names of the per-sample weight inputs, [N]. */
  readonly weights: readonly string[];
}

/** Resolves a validated session's bindings against the names of its columns. */
export function bindInputs(graph: Graph, data: SessionData, columns: readonly { readonly name: string }[]): Bindings {
  const inputs: BoundInput[] = [];
  const weights: string[] = [];
  for (const [position, input] of graph.inputs.entries()) {
    if (input.role === "weight") {
      weights.push(input.name);
      continue;
    }
    const binding = data.inputs[input.name];
    const column = columns.findIndex(({ name }) => name === binding?.column);
    if (binding === undefined || column < 0) throw new RangeError(`input ${input.name} is bound to no column`);
    const { scale, offset } = binding;
    inputs.push({
      name: input.name,
      column,
      elements: sampleElements(input),
      float: input.dtype === "float32",
      scale,
      offset,
      values: Float32Array.from({ length: 256 }, (_, byte) => byte * scale + offset),
      shift: binding.shift ?? 0,
      augmenter: binding.augment === undefined ? null : new Augmenter(position, input, binding.augment, binding),
    });
  }
  return { inputs, weights };
}

/** Copies sample `from` of a stored column to position `to` of the slot's array. */
export function copySample(input: BoundInput, stored: StoredArray, from: number, target: Tensor, to: number): void {
  const { elements } = input;
  copyValues(input, stored, from * elements, target, to * elements, elements);
}

/** Copies `count` stored values, from one place to another. */
export function copyValues(
  { float, scale, offset, values }: BoundInput,
  stored: StoredArray,
  from: number,
  target: Tensor,
  to: number,
  count: number,
): void {
  if (stored instanceof Uint8Array && target instanceof Float32Array) {
    copyBytes(values, stored, from, target, to, count);
    return;
  }
  if (!float || (scale === 1 && offset === 0)) {
    for (let i = 0; i < count; i++) target[to + i] = stored[from + i] as number;
    return;
  }
  for (let i = 0; i < count; i++) target[to + i] = stored[from + i] * scale + offset;
}

/** A function of its own, which meets arrays of these kinds only: pictures are most of what is ever copied. */
function copyBytes(
  values: Float32Array,
  stored: Uint8Array,
  from: number,
  target: Float32Array,
  to: number,
  count: number,
): void {
  for (let i = 0; i < count; i++) target[to + i] = values[stored[from + i]];
}

/** Repeats the last of `real` samples up to N and sets the weights: 1 for real samples, 0 for padding. */
export function padSlot(bindings: Bindings, slot: Slot, real: number, microBatch: number): void {
  for (const { name, elements } of bindings.inputs) {
    const target = slot[name];
    for (let i = real; i < microBatch; i++) target.copyWithin(i * elements, (real - 1) * elements, real * elements);
  }
  for (const name of bindings.weights) slot[name].fill(1, 0, real).fill(0, real);
}
