/**
 * What a client owes: the part of its gradients that its results left out so far. It is added to the sums of the next result,
 * so that nothing is lost, only late (error feedback; Seide et al., "1-Bit Stochastic Gradient Descent", Interspeech 2014).
 *
 * Sums are rounded to multiples of one unit, twice as wide as the smallest value that is still among the largest of so many percent.
 * Rounding up what is near to a unit, and owing the difference, lets many parameters move a little: of as many bits it costs a fraction of
 * what sending the largest values as they are does (docs/performance.md).
 *
 * A result that was dropped has its gradient with somebody else's: what was owed before it is owed again. Where nobody can know
 * what became of a result, because its socket broke, everything is forgiven. Only two arrays of the parameters' size are kept.
 */

import {
  addSquares,
  BLOCK,
  gridScale,
  LARGEST_MULTIPLE,
  largestPart,
  type Matrix,
  onGrid,
  squaresLength,
  toBfloat16,
} from "../../shared/codec/index.ts";
import { TrainingError } from "./errors.ts";
import type { Coarse } from "./result.ts";

/** The announced grid that sums are on. */
export interface FeedbackGrid {
  /** Announced exponents, [blocks]. */
  readonly exponents: Uint8Array;
  /** Bits of magnitude of one micro-batch's value. */
  readonly magnitudeBits: number;
  /** Largest magnitude that a sum may have on it. */
  readonly largest: number;
}

/** Magnitudes are told apart by the upper half of their float32: 8 bits of exponent and 7 of the fraction. */
const BINS = 32_768;
/** Bins of a factor of two. */
const OCTAVE = 128;
/** The largest value is at most so many octaves above the smallest one that is sent. */
const OCTAVES = 10;
/** The first one of ordinary numbers. */
const SMALLEST_BIN = OCTAVE;

export class ErrorFeedback {
  /** Most values that are sent. */
  readonly #most: number;
  readonly #matrices: readonly Matrix[];
  /** In units of the gradient, [parameters]. */
  #owed: Float32Array;
  /** The same before the last result. */
  #before: Float32Array;
  /** Values by the upper half of their magnitude. */
  readonly #counts = new Uint32Array(BINS);
  /** Lease of the last result, until its receipt. */
  #pending: number | null = null;

  /**
   * @param part of the parameters, that is sent at most
   * @param matrices those of which squares are sent, in some steps
   */
  constructor(parameters: number, part: number, matrices: readonly Matrix[] = []) {
    this.#most = largestPart(parameters, part);
    this.#matrices = matrices;
    this.#owed = new Float32Array(parameters);
    this.#before = new Float32Array(parameters);
  }

  /**
   * Replaces sums [parameters] by multiples of a unit, most of them zero: of what they and everything owed come to. Throws TrainingError
   * `compute` if they are not of the parameters' size.
   * @param carriesSquares whether the squares of the gradient itself, without what was owed, are wanted as well
   * @returns the unit, a number of 8 significant bits, and the squares
   */
  select(lease: number, sums: Int32Array, grid: FeedbackGrid, carriesSquares = false): Coarse {
    if (sums.length !== this.#owed.length) {
      throw new TrainingError("compute", `the engine returned ${sums.length} sums, expected ${this.#owed.length}`);
    }
    [this.#owed, this.#before] = [this.#before, this.#owed];
    this.#pending = lease;
    const scales = Float64Array.from(grid.exponents, (exponent) => gridScale(grid.magnitudeBits, exponent));
    const squares = carriesSquares ? this.#squaresOf(sums, scales) : new Uint16Array(0);
    this.#count(sums, scales);
    const { bin: least, spare } = this.#leastSent();
    const unit = 2 * edgeOf(least);
    this.#round(sums, scales, { least, spare, unit, bound: grid.largest });
    return { unit, squares };
  }

  /** What became of a result. */
  settle(lease: number, accepted: boolean): void {
    if (this.#pending !== lease) return;
    this.#pending = null;
    if (!accepted) [this.#owed, this.#before] = [this.#before, this.#owed];
  }

  /** The socket of the last result is gone: if it has no receipt yet, nothing is owed any more. */
  lose(): void {
    if (this.#pending === null) return;
    this.#pending = null;
    this.#owed.fill(0);
  }

  #squaresOf(sums: Int32Array, scales: Float64Array): Uint16Array {
    const squares = new Float64Array(squaresLength(this.#matrices));
    const squareAt = (at: number): number => {
      const value = sums[at] / scales[Math.floor(at / BLOCK)];
      return value * value;
    };
    addSquares(this.#matrices, squareAt, squares);
    return toBfloat16(squares);
  }

  /** Adds sums to what is owed, and counts by magnitude what that comes to. */
  #count(sums: Int32Array, scales: Float64Array): void {
    const owed = this.#owed;
    const before = this.#before;
    const bits = new Uint32Array(owed.buffer);
    const counts = this.#counts.fill(0);
    for (let block = 0, start = 0; start < owed.length; block++, start += BLOCK) {
      const fine = 1 / scales[block];
      const end = Math.min(start + BLOCK, owed.length);
      for (let at = start; at < end; at++) {
        owed[at] = before[at] + sums[at] * fine;
        counts[(bits[at] & 0x7fffffff) >>> 16] += 1;
      }
    }
  }

  #round(
    sums: Int32Array,
    scales: Float64Array,
    { least, spare, unit, bound }: { least: number; spare: number; unit: number; bound: number },
  ): void {
    const owed = this.#owed;
    const bits = new Uint32Array(owed.buffer);
    let left = spare;
    for (let block = 0, start = 0; start < owed.length; block++, start += BLOCK) {
      const scale = scales[block];
      const largest = Math.min(LARGEST_MULTIPLE, Math.floor(bound / (unit * scale)));
      const end = Math.min(start + BLOCK, owed.length);
      for (let at = start; at < end; at++) {
        const bin = (bits[at] & 0x7fffffff) >>> 16;
        sums[at] = 0;
        if (bin < least || (bin === least && left === 0)) continue;
        if (bin === least) left -= 1;
        const value = owed[at];
        // Half a unit is the least that is sent: it is rounded away from zero.
        const multiple = Math.sign(value) * Math.min(largest, Math.round(Math.abs(value) / unit));
        sums[at] = multiple;
        owed[at] -= onGrid(multiple, unit, scale) / scale;
      }
    }
  }

  /** The lowest bin of which values are sent, and how many of its own: of those above it, all. */
  #leastSent(): { readonly bin: number; readonly spare: number } {
    let spare = this.#most;
    let least = SMALLEST_BIN;
    for (let bin = BINS - 1; bin > least; bin--) {
      const count = this.#counts[bin];
      if (count > 0) least = Math.max(least, bin - OCTAVES * OCTAVE);
      if (count >= spare) return { bin, spare };
      spare -= count;
    }
    return { bin: least, spare };
  }
}

/** The smallest magnitude of a bin. */
function edgeOf(bin: number): number {
  return new Float32Array(Uint32Array.of(bin << 16).buffer)[0];
}
