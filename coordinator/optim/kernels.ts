/**
 * The compiled kernels over one linear memory that holds everything the optimizer keeps per parameter. The shell hands in
 * the module: workerd imports `.wasm` as a module, Node compiles it from bytes.
 */

import {
  addCoarse,
  blockCount,
  GROUP,
  packedBytes,
  packedWidthsBytes,
  packedWordsBytes,
  planSparse,
  type SumCodec,
  sparseMessage,
} from "../../shared/codec/index.ts";
import { LANE_WORDS, laneTable } from "./lanes.ts";
import { PieceReader } from "./pieces.ts";

const PAGE_BYTES = 65_536;
const FLOAT_BYTES = 4;
/** What comes in is copied and added so many bytes at a time, which stay in the processor's caches between the two. */
const WINDOW_BYTES = 131_072;
/** Of the processor's caches. */
const LINE_BYTES = 64;

/** Floats set aside for the scalars of one group of one step. */
export const SCALARS = 16;

/** An optimizer's kernel; what a run is is said in assembly/kernels.ts. */
type UpdateKernel = (run: number) => void;
/** u32 of a run, and of what aligns the next array. */
const RUN_WORDS = 12;

export type UpdateName = "sgd" | "momentum" | "adam" | "adamWithin" | "rmsprop" | "adagrad" | "lion";

interface KernelExports extends Record<UpdateName, UpdateKernel> {
  addFixed32(sums: number, incoming: number, count: number, bound: number): number;
  addFixed16(sums: number, incoming: number, count: number, bound: number): number;
  subtractFixed32(sums: number, incoming: number, count: number): void;
  subtractFixed16(sums: number, incoming: number, count: number): void;
  addPacked(sums: number, widths: number, words: number, count: number, lanes: number): void;
  pack(sums: number, widths: number, words: number, count: number): number;
  squaredNorm(sums: number, scales: number, count: number): number;
  average(averages: number, weights: number, count: number, decay: number, rest: number): void;
  approach(held: number, weights: number, target: number, count: number, unit: number, inverse: number): number;
  surveySparse(values: number, count: number, figures: number): void;
  encodeSparse(values: number, count: number, words: number, gapShift: number, magnitudeShift: number): number;
}

type FixedFrame = "fixed32" | "fixed16";

/** As an unsigned integer it is above every magnitude. */
const ANY = -1;
const LANE_BYTES = 16;
/** What a vector that begins in the last packed byte reads past it. */
const MARGIN = LANE_BYTES;
/** Widest sum that is packed for the log, in bits. */
const PACKED_BITS = 16;
/** Groups of packed sums that are sure to fit the window. */
const WINDOW_GROUPS = Math.floor(WINDOW_BYTES / (GROUP * FLOAT_BYTES));

/** Half-open run of the flat parameter space, in floats; both multiples of 4. */
export interface Span {
  readonly offset: number;
  readonly count: number;
}

const align16 = (bytes: number): number => Math.ceil(bytes / 16) * 16;

const blocksOf = (parameters: number): number => Math.ceil(blockCount(parameters) / 4) * 4;

/** Bytes of linear memory for `parameters` parameters with `states` arrays of state: they, weights, sums and a window. */
export function kernelBytes(parameters: number, states: number): number {
  const floats = (2 + states) * parameters + blocksOf(parameters) + SCALARS + RUN_WORDS + LANE_WORDS;
  const bytes =
    floats * FLOAT_BYTES +
    align16(packedBytes(parameters, PACKED_BITS)) +
    packedWidthsBytes(parameters) +
    WINDOW_BYTES +
    LINE_BYTES +
    MARGIN;
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}

export class Kernels {
  /** Flat views [parameters] into the linear memory. */
  readonly weights: Float32Array<ArrayBuffer>;
  /** What the optimizer keeps, by name, in the order of the optimizer's table. */
  readonly states: Readonly<Record<string, Float32Array<ArrayBuffer>>>;
  /** Integer sums of the open step. */
  readonly sums: Int32Array<ArrayBuffer>;
  /** What a block's integers are multiplied by to be a mean gradient, [blocks]. */
  readonly scales: Float32Array<ArrayBuffer>;
  /** Where sums are packed for the log. */
  readonly #packed: Uint8Array<ArrayBuffer>;
  /** Of a packed contribution, by group. */
  readonly #widths: Uint8Array<ArrayBuffer>;
  readonly #window: Uint8Array<ArrayBuffer>;
  readonly #scalars: Float32Array<ArrayBuffer>;
  readonly #run: Uint32Array<ArrayBuffer>;
  readonly #lanes: number;
  readonly #exports: KernelExports;
  readonly #memory: WebAssembly.Memory;

  constructor(module: WebAssembly.Module, parameters: number, states: readonly string[]) {
    if (parameters % 4 !== 0) throw new RangeError(`${parameters} parameters are not a multiple of 4`);
    this.#memory = new WebAssembly.Memory({ initial: kernelBytes(parameters, states.length) / PAGE_BYTES });
    const { buffer } = this.#memory;
    const instance = new WebAssembly.Instance(module, { env: { memory: this.#memory } });
    this.#exports = instance.exports as unknown as KernelExports;
    let end = 0;
    const place = (floats: number): Float32Array<ArrayBuffer> => {
      const view = new Float32Array(buffer, end, floats);
      end += view.byteLength;
      return view;
    };
    // Weights come first, so that no state lies at 0, which means none.
    this.weights = place(parameters);
    this.states = Object.fromEntries(states.map((name) => [name, place(parameters)]));
    this.sums = new Int32Array(buffer, place(parameters).byteOffset, parameters);
    const placeBytes = (bytes: number): Uint8Array<ArrayBuffer> => {
      const { byteOffset } = place(align16(bytes) / FLOAT_BYTES);
      return new Uint8Array(buffer, byteOffset, bytes);
    };
    this.#packed = placeBytes(packedBytes(parameters, PACKED_BITS));
    this.#widths = placeBytes(packedWidthsBytes(parameters));
    this.#window = placeBytes(WINDOW_BYTES + LINE_BYTES + MARGIN);
    this.scales = place(blocksOf(parameters));
    this.#scalars = place(SCALARS);
    this.#run = new Uint32Array(buffer, place(RUN_WORDS).byteOffset, RUN_WORDS);
    const lanes = place(LANE_WORDS);
    this.#lanes = lanes.byteOffset;
    new Uint8Array(buffer, lanes.byteOffset, lanes.byteLength).set(laneTable());
  }

  /** Bytes of the linear memory, for the ledger (invariant I4). */
  get bytes(): number {
    return this.#memory.buffer.byteLength;
  }

  /**
   * Adds encoded sums of exactly the parameters' size, without a fault in their packing, in pieces cut anywhere. Dense ones come
   * into linear memory by a window that stays in the processor's caches; of sparse ones only few are there to be added.
   * @param bound largest magnitude that a sum may have; looked at where sums are as wide on the wire as they like (all but `packed…`)
   * @param scaleOf a block's grid: units of it in one unit of the gradient; for sums that have a unit of their own (`sparse…`)
   * @returns false where one is beyond it, and then nothing was added: what was is taken back, which is exact in integers
   */
  add(
    pieces: readonly Uint8Array[],
    frame: SumCodec["frame"],
    bound: number = ANY,
    scaleOf: (block: number) => number = () => 1,
  ): boolean {
    const reader = new PieceReader(pieces);
    switch (frame) {
      case "packed":
        this.#addPacked(reader);
        break;
      case "sparse":
        return addCoarse(reader.rest(), this.sums, scaleOf, bound);
      default:
        if (this.#addFixed(reader, frame, bound)) return true;
        this.#takeBack(new PieceReader(pieces), frame);
        return false;
    }
    return true;
  }

  /** The sums packed if all fit into 16 bits, else as they are; valid until anything else is added. */
  packed(): { readonly codec: "fixed32" | "packed"; readonly sums: Uint8Array } {
    const { sums } = this;
    const widths = this.#packed.byteOffset;
    const start = packedWidthsBytes(sums.length);
    this.#packed.fill(0, 0, start);
    const words = this.#exports.pack(sums.byteOffset, widths, widths + start, sums.length);
    if (words >= 0) return { codec: "packed", sums: this.#packed.subarray(0, start + words) };
    return { codec: "fixed32", sums: new Uint8Array(sums.buffer, sums.byteOffset, sums.byteLength) };
  }

  /** Σ g² of the gradient that the sums stand for, by `scales`. */
  squaredNorm(): number {
    return this.#exports.squaredNorm(this.sums.byteOffset, this.scales.byteOffset, this.sums.length);
  }

  /**
   * Updates one span from its sums, by `scales`: they are decoded and used in one pass, and stay as they are.
   * @param states names of the kernel's state arrays by position; null where this optimizer goes without
   * @param scalars at most `SCALARS`
   * @param keep name of the state that takes the mean gradient, before it is clipped and without penalties; null for none
   */
  update(
    kernel: UpdateName,
    states: readonly (string | null)[],
    { offset, count }: Span,
    scalars: Float32Array,
    keep: string | null = null,
  ): void {
    this.#scalars.set(scalars);
    const addressOf = (name: string | null = null): number => (name === null ? 0 : this.states[name].byteOffset);
    this.#run.set([
      offset * FLOAT_BYTES,
      (offset + count) * FLOAT_BYTES,
      this.weights.byteOffset,
      ...[0, 1, 2].map((position) => addressOf(states[position])),
      this.sums.byteOffset,
      this.scales.byteOffset,
      addressOf(keep),
      this.#scalars.byteOffset,
    ]);
    this.#exports[kernel](this.#run.byteOffset);
  }

  /** state ← decay · state + rest · weights, over all parameters. */
  average(state: string, decay: number, rest: number): void {
    const { weights } = this;
    this.#exports.average(this.states[state].byteOffset, weights.byteOffset, weights.length, decay, rest);
  }

  /**
   * Moves the state towards the weights by whole units, a power of two, over all parameters.
   * @returns the units by parameter, at most ±127 and valid until sums are packed, and how many are not zero; null if a weight is
   * not finite
   */
  approach(state: string, unit: number): { readonly units: Int8Array; readonly changed: number } | null {
    const { weights } = this;
    const held = this.states[state].byteOffset;
    const target = this.#packed;
    const changed = this.#exports.approach(held, weights.byteOffset, target.byteOffset, weights.length, unit, 1 / unit);
    if (changed < 0) return null;
    return { units: new Int8Array(target.buffer, target.byteOffset, weights.length), changed };
  }

  /** The units of the last `approach` as a sparse message; null where that may be longer than one byte a parameter. */
  encodeUnits(): Uint8Array<ArrayBuffer> | null {
    const { length } = this.weights;
    const units = this.#packed.byteOffset;
    // Behind the units, where sums that are packed for the log take as much again.
    const words = units + align16(length);
    const scratch = new Int32Array(this.#packed.buffer, this.#scalars.byteOffset, SCALARS);
    this.#exports.surveySparse(units, length, scratch.byteOffset);
    const [count, magnitudes, last] = scratch;
    const figures = { count, magnitudes, last };
    const plan = planSparse(figures);
    if (plan.most > length - MARGIN) return null;
    const bytes = this.#exports.encodeSparse(units, last + 1, words, plan.gapShift, plan.magnitudeShift);
    return sparseMessage(figures, plan, new Uint8Array(this.#packed.buffer, words, bytes));
  }

  /** Whether all were within the bound. */
  #addFixed(reader: PieceReader, frame: FixedFrame, bound: number): boolean {
    const add = frame === "fixed32" ? this.#exports.addFixed32 : this.#exports.addFixed16;
    let isWithin = true;
    this.#throughWindow(reader, frame, (sums, incoming, count) => {
      if (add(sums, incoming, count, bound) === 0) isWithin = false;
    });
    return isWithin;
  }

  #takeBack(reader: PieceReader, frame: FixedFrame): void {
    this.#throughWindow(
      reader,
      frame,
      frame === "fixed32" ? this.#exports.subtractFixed32 : this.#exports.subtractFixed16,
    );
  }

  #throughWindow(
    reader: PieceReader,
    frame: FixedFrame,
    kernel: (sums: number, incoming: number, count: number) => void,
  ): void {
    const { sums } = this;
    const width = frame === "fixed32" ? 4 : 2;
    const most = WINDOW_BYTES / width;
    for (let at = 0; at < sums.length; at += most) {
      const count = Math.min(most, sums.length - at);
      const incoming = this.#read(reader, count * width);
      kernel(sums.byteOffset + at * FLOAT_BYTES, incoming.byteOffset, count);
    }
  }

  /**
   * Copies what comes next into the window, to a place that lies in its cache line as it does in its own buffer. Where a target begins
   * 16 bytes behind its source in a page, `rep movsb`, which the C library copies by, takes twenty times as long on AMD's Zen 3, and
   * large buffers begin at the same place of a page each time: a session of an unlucky size would have it with every contribution.
   */
  #read(reader: PieceReader, bytes: number): Uint8Array {
    const window = this.#window;
    const start = (reader.place - window.byteOffset) & (LINE_BYTES - LANE_BYTES);
    const target = window.subarray(start, start + bytes);
    reader.fill(target);
    return target;
  }

  #addPacked(reader: PieceReader): void {
    const { sums } = this;
    const widths = this.#widths;
    reader.fill(widths);
    const most = WINDOW_GROUPS * GROUP;
    for (let at = 0; at < sums.length; at += most) {
      const count = Math.min(most, sums.length - at);
      const group = at / GROUP;
      const words = this.#read(reader, packedWordsBytes(widths.subarray(group), count));
      const addresses = [sums.byteOffset + at * FLOAT_BYTES, widths.byteOffset + group, words.byteOffset] as const;
      this.#exports.addPacked(...addresses, count, this.#lanes);
    }
  }
}

export function createKernels(module: WebAssembly.Module, parameters: number, states: readonly string[]): Kernels {
  return new Kernels(module, parameters, states);
}
