/**
 * The compiled kernels over one linear memory that holds everything the optimizer keeps per parameter. The shell hands in
 * the module: workerd imports `.wasm` as a module, Node compiles it from bytes.
 */

import { blockCount, CODECS } from "../../shared/codec/index.ts";
import type { GradientCodec } from "../../shared/session/definition.ts";

const PAGE_BYTES = 65_536;
const FLOAT_BYTES = 4;
/** What comes in is copied and added so many bytes at a time, which stay in the processor's caches between the two. */
const WINDOW_BYTES = 262_144;

/** Floats set aside for the scalars of one group of one step. */
export const SCALARS = 16;

/** An optimizer's kernel; what the arguments are is said in assembly/kernels.ts. */
type UpdateKernel = (
  weights: number,
  state0: number,
  state1: number,
  state2: number,
  gradients: number,
  count: number,
  scalars: number,
) => void;

export type UpdateName = "sgd" | "momentum" | "adam" | "rmsprop" | "adagrad" | "lion";

interface KernelExports extends Record<UpdateName, UpdateKernel> {
  addFixed32(sums: number, incoming: number, count: number): void;
  addFixed16(sums: number, incoming: number, count: number): void;
  decode(values: number, scales: number, count: number): void;
  squaredNorm(sums: number, scales: number, count: number): number;
  adjust(gradients: number, weights: number, count: number, scalars: number): void;
  average(averages: number, weights: number, count: number, decay: number, rest: number): void;
}

const ADD = { fixed32: "addFixed32", fixed16: "addFixed16" } as const satisfies Record<
  GradientCodec,
  keyof KernelExports
>;

/** Half-open run of the flat parameter space, in floats; both multiples of 4. */
export interface Span {
  readonly offset: number;
  readonly count: number;
}

const blocksOf = (parameters: number): number => Math.ceil(blockCount(parameters) / 4) * 4;

/** Bytes of linear memory for `parameters` parameters with `states` arrays of state: they, weights, sums and a window. */
export function kernelBytes(parameters: number, states: number): number {
  const floats = (2 + states) * parameters + blocksOf(parameters) + SCALARS + WINDOW_BYTES / FLOAT_BYTES;
  return Math.ceil((floats * FLOAT_BYTES) / PAGE_BYTES) * PAGE_BYTES;
}

/** Whether these scalars change the gradient before the optimizer sees it: clipped, clamped or with a penalty. */
const adjusts = ([scale, limit, l2, l1]: Float32Array): boolean =>
  scale !== 1 || limit !== Number.POSITIVE_INFINITY || l2 !== 0 || l1 !== 0;

export class Kernels {
  /** Flat views [parameters] into the linear memory. */
  readonly weights: Float32Array<ArrayBuffer>;
  /** What the optimizer keeps, by name, in the order of the optimizer's table. */
  readonly states: Readonly<Record<string, Float32Array<ArrayBuffer>>>;
  /** Integer sums of the open step; the same memory holds the decoded gradient after `decode`. */
  readonly sums: Int32Array<ArrayBuffer>;
  /** What a block's integers are multiplied by to be a mean gradient, [blocks]. */
  readonly scales: Float32Array<ArrayBuffer>;
  readonly #incoming: Uint8Array<ArrayBuffer>;
  readonly #scalars: Float32Array<ArrayBuffer>;
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
    this.#incoming = new Uint8Array(buffer, place(WINDOW_BYTES / FLOAT_BYTES).byteOffset, WINDOW_BYTES);
    this.scales = place(blocksOf(parameters));
    this.#scalars = place(SCALARS);
  }

  /** Bytes of the linear memory, for the ledger (invariant I4). */
  get bytes(): number {
    return this.#memory.buffer.byteLength;
  }

  /**
   * Adds encoded sums of exactly the parameters' size, in pieces cut anywhere. They come into linear memory by a window that
   * stays in the processor's cache.
   */
  add(pieces: readonly Uint8Array[], codec: GradientCodec): void {
    const { bytes } = CODECS[codec];
    let filled = 0;
    let at = this.sums.byteOffset;
    const addWindow = (): void => {
      this.#exports[ADD[codec]](at, this.#incoming.byteOffset, filled / bytes);
      at += (filled / bytes) * FLOAT_BYTES;
      filled = 0;
    };
    for (const piece of pieces) {
      for (let from = 0; from < piece.byteLength; ) {
        const part = piece.subarray(from, from + WINDOW_BYTES - filled);
        this.#incoming.set(part, filled);
        filled += part.byteLength;
        from += part.byteLength;
        if (filled === WINDOW_BYTES) addWindow();
      }
    }
    if (filled > 0) addWindow();
  }

  /** Σ g² of the gradient that the sums stand for, by `scales`. */
  squaredNorm(): number {
    return this.#exports.squaredNorm(this.sums.byteOffset, this.scales.byteOffset, this.sums.length);
  }

  /** Turns the sums into gradients in place, by `scales`. */
  decode(): void {
    this.#exports.decode(this.sums.byteOffset, this.scales.byteOffset, this.sums.length);
  }

  /**
   * Updates one span from the decoded gradient.
   * @param states names of the kernel's state arrays by position; null where this optimizer goes without
   * @param scalars at most `SCALARS`
   */
  update(kernel: UpdateName, states: readonly (string | null)[], span: Span, scalars: Float32Array): void {
    this.#scalars.set(scalars);
    const from = span.offset * FLOAT_BYTES;
    const at = (position: number): number => {
      const name = states[position] ?? null;
      return name === null ? 0 : this.states[name].byteOffset + from;
    };
    const { weights, sums } = this;
    if (adjusts(scalars)) {
      this.#exports.adjust(sums.byteOffset + from, weights.byteOffset + from, span.count, this.#scalars.byteOffset);
    }
    this.#exports[kernel](
      weights.byteOffset + from,
      at(0),
      at(1),
      at(2),
      sums.byteOffset + from,
      span.count,
      this.#scalars.byteOffset,
    );
  }

  /** state ← decay · state + rest · weights, over all parameters. */
  average(state: string, decay: number, rest: number): void {
    const { weights } = this;
    this.#exports.average(this.states[state].byteOffset, weights.byteOffset, weights.length, decay, rest);
  }
}

export function createKernels(module: WebAssembly.Module, parameters: number, states: readonly string[]): Kernels {
  return new Kernels(module, parameters, states);
}
