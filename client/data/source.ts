/**
 * Where micro-batches come from: hosted chunks or the caller's own arrays, behind one interface.
 */

import type { Graph, GraphInput } from "../../shared/graph/ir.ts";
import type { SessionData } from "../../shared/session/definition.ts";
import type { Work } from "../../shared/session/plan.ts";
import { isBytes } from "../engine/bytes.ts";
import type { Input, Tensor } from "../engine/engine.ts";
import { Augmenter } from "./augment.ts";

/** One piece of a step: micro-batch `index` of it, counted from 0. */
export interface Request {
  readonly work: Work;
  readonly step: number;
  readonly index: number;
}

/** Arrays of one micro-batch by graph input name, [N, ...] flat; filled again and again. */
export type Slot = Readonly<Record<string, Input>>;

export interface DataSource {
  /** One that `fill` fills: bytes stay bytes where they are taken as they are. */
  createSlot(): Slot;
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

export function createSlot({ inputs, weights }: Bindings, microBatch: number): Slot {
  const slot: Record<string, Input> = {};
  for (const { name, elements, float, staysBytes, scale, offset } of inputs) {
    const length = microBatch * elements;
    if (staysBytes) slot[name] = { bytes: new Uint8Array(length), scale, offset };
    else slot[name] = float ? new Float32Array(length) : new Int32Array(length);
  }
  for (const name of weights) slot[name] = new Float32Array(microBatch);
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
  /** Whether it is bytes in the slot, too. */
  readonly staysBytes: boolean;
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

/** A column by its name, and whether it is of unsigned bytes. */
export interface ColumnKind {
  readonly name: string;
  readonly isBytes: boolean;
}

/** Resolves a validated session's bindings against the names of its columns. */
export function bindInputs(graph: Graph, data: SessionData, columns: readonly ColumnKind[]): Bindings {
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
    const { scale, offset, augment } = binding;
    const float = input.dtype === "float32";
    inputs.push({
      name: input.name,
      column,
      elements: sampleElements(input),
      float,
      scale,
      offset,
      staysBytes: float && augment === undefined && columns[column].isBytes,
      shift: binding.shift ?? 0,
      augmenter: augment === undefined ? null : new Augmenter(position, input, augment, binding),
    });
  }
  return { inputs, weights };
}

/** Copies sample `from` of a stored column to position `to` of the slot's array. */
export function copySample(input: BoundInput, stored: StoredArray, from: number, target: Input, to: number): void {
  const { elements } = input;
  copyValues(input, stored, from * elements, target, to * elements, elements);
}

/** Copies `count` stored values, from one place to another. */
export function copyValues(
  { float, scale, offset }: BoundInput,
  stored: StoredArray,
  from: number,
  target: Input,
  to: number,
  count: number,
): void {
  if (isBytes(target)) {
    target.bytes.set((stored as Uint8Array).subarray(from, from + count), to);
    return;
  }
  if (!float || (scale === 1 && offset === 0)) {
    for (let i = 0; i < count; i++) target[to + i] = stored[from + i] as number;
    return;
  }
  for (let i = 0; i < count; i++) target[to + i] = stored[from + i] * scale + offset;
}

/** Repeats the last of `real` samples up to N and sets the weights: 1 for real samples, 0 for padding. */
export function padSlot(bindings: Bindings, slot: Slot, real: number, microBatch: number): void {
  for (const { name, elements } of bindings.inputs) {
    const input = slot[name];
    const target = isBytes(input) ? input.bytes : input;
    for (let i = real; i < microBatch; i++) target.copyWithin(i * elements, (real - 1) * elements, real * elements);
  }
  for (const name of bindings.weights) (slot[name] as Tensor).fill(1, 0, real).fill(0, real);
}
