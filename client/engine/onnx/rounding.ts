/**
 * A shard's sum in WebAssembly memory: each gradient is rounded and added by SIMD kernels where it was computed, and the sum is
 * copied out once. What is computed is `accumulateFixed` and `measureExponents` of shared/codec, bit for bit.
 */

import { blockCount } from "../../../shared/codec/index.ts";
import type { Contribution, ShardTask } from "../engine.ts";
import { type Kernels, kernelsOver } from "./kernels.ts";
import type { Block } from "./runtime.ts";

const WORD = 4;

export class Rounding {
  /** One micro-batch's gradient, [parameters]: to be filled before each call. */
  readonly gradient: Float32Array;
  readonly #block: Block;
  readonly #sums: Int32Array;
  readonly #announced: Uint8Array;
  readonly #maxima: Uint8Array;
  readonly #kernels: Kernels;
  #clamped = 0;
  /** Nothing was added yet: what the sums hold is of the shard before. */
  #isEmpty = true;

  /** @param parameters of the flat space, a multiple of 4 */
  constructor(parameters: number, allocate: (byteLength: number) => Block) {
    const blocks = blockCount(parameters);
    this.#block = allocate(2 * parameters * WORD + 2 * blocks);
    const { memory, address } = this.#block;
    const { buffer } = memory;
    this.gradient = new Float32Array(buffer, address, parameters);
    this.#sums = new Int32Array(buffer, address + parameters * WORD, parameters);
    this.#announced = new Uint8Array(buffer, address + 2 * parameters * WORD, blocks);
    this.#maxima = new Uint8Array(buffer, address + 2 * parameters * WORD + blocks, blocks);
    this.#kernels = kernelsOver(memory);
  }

  /** Begins a sum of zero. @param announced exponents by block; none if nothing will be rounded */
  begin(announced: Uint8Array = new Uint8Array(0)): void {
    this.#isEmpty = true;
    this.#maxima.fill(0);
    this.#announced.set(announced);
    this.#clamped = 0;
  }

  /** Notes the exponents in `gradient`. */
  measure(): void {
    this.#kernels.measure(this.gradient.byteOffset, this.#maxima.byteOffset, this.gradient.length);
  }

  /** Rounds `gradient` to the grid and adds it. */
  accumulate(bits: number): void {
    const { gradient } = this;
    const { start, accumulate } = this.#kernels;
    this.#clamped += (this.#isEmpty ? start : accumulate)(
      gradient.byteOffset,
      this.#announced.byteOffset,
      this.#sums.byteOffset,
      this.#maxima.byteOffset,
      gradient.length,
      bits,
    );
    this.#isEmpty = false;
  }

  /**
   * Copies of what has come together: what this kind of work has no use for is empty.
   * @param into an array for the sums, if one is at hand
   */
  take(work: ShardTask["work"], into?: Int32Array): Pick<Contribution, "sums" | "maxima" | "clamped"> {
    return {
      sums: work === "gradient" ? this.#copySums(into) : new Int32Array(0),
      maxima: work === "evaluate" ? new Uint8Array(0) : this.#maxima.slice(),
      clamped: work === "gradient" ? this.#clamped : 0,
    };
  }

  free(): void {
    this.#block.free();
  }

  #copySums(into: Int32Array | undefined): Int32Array {
    if (this.#isEmpty) return new Int32Array(this.#sums.length);
    if (into?.length !== this.#sums.length) return this.#sums.slice();
    into.set(this.#sums);
    return into;
  }
}
