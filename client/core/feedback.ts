/**
 * What a client owes: the part of its gradients that its results left out so far. It is added to the sums of the next result,
 * so that nothing is lost, only late (error feedback; Seide et al., "1-Bit Stochastic Gradient Descent", Interspeech 2014).
 *
 * A result that was dropped has its gradient with somebody else's: what was owed before it is owed again. Where nobody can know
 * what became of a result, because its socket broke, everything is forgiven. Only two arrays of the parameters' size are kept.
 */

import { BLOCK, gridScale, largestPart } from "../../shared/codec/index.ts";
import { TrainingError } from "./errors.ts";

/** How sums are read and what is made of them. */
export interface FeedbackGrids {
  /** Announced exponents, [blocks]. */
  readonly exponents: Uint8Array;
  /** Bits of magnitude of the sums that come in, and of those that go out. */
  readonly roundingBits: number;
  readonly magnitudeBits: number;
  /** Largest value that may go out. */
  readonly largest: number;
}

/** Magnitudes are told apart by the upper half of their float32: 8 bits of exponent and 7 of the fraction. */
const BINS = 32_768;

export class ErrorFeedback {
  /** Most values that are sent. */
  readonly #most: number;
  /** In units of the gradient, [parameters]. */
  #owed: Float32Array;
  /** The same before the last result. */
  #before: Float32Array;
  /** Values by the upper half of their magnitude. */
  readonly #counts = new Uint32Array(BINS);
  /** Lease of the last result, until its receipt. */
  #pending: number | null = null;

  /** @param part of the parameters, that is sent at most */
  constructor(parameters: number, part: number) {
    this.#most = largestPart(parameters, part);
    this.#owed = new Float32Array(parameters);
    this.#before = new Float32Array(parameters);
  }

  /**
   * Replaces sums [parameters] by the ones to be sent: of what they and everything owed come to the largest ones, on the coarser grid,
   * and zero elsewhere. Throws TrainingError `compute` if they are not of the parameters' size.
   */
  select(lease: number, sums: Int32Array, grids: FeedbackGrids): void {
    if (sums.length !== this.#owed.length) {
      throw new TrainingError("compute", `the engine returned ${sums.length} sums, expected ${this.#owed.length}`);
    }
    [this.#owed, this.#before] = [this.#before, this.#owed];
    this.#pending = lease;
    const owed = this.#owed;
    const before = this.#before;
    const { exponents, roundingBits, magnitudeBits, largest } = grids;
    const bits = new Uint32Array(owed.buffer);
    const counts = this.#counts.fill(0);
    for (let block = 0, start = 0; start < owed.length; block++, start += BLOCK) {
      const unit = 1 / gridScale(roundingBits, exponents[block]);
      const half = 0.5 / gridScale(magnitudeBits, exponents[block]);
      const end = Math.min(start + BLOCK, owed.length);
      for (let at = start; at < end; at++) {
        owed[at] = before[at] + sums[at] * unit;
        // What the grid rounds to zero does not compete.
        if (owed[at] >= half || owed[at] <= -half) counts[(bits[at] & 0x7fffffff) >>> 16] += 1;
      }
    }
    const { bin: least, spare } = this.#leastSent();
    let left = spare;
    for (let block = 0, start = 0; start < owed.length; block++, start += BLOCK) {
      const scale = gridScale(magnitudeBits, exponents[block]);
      const end = Math.min(start + BLOCK, owed.length);
      for (let at = start; at < end; at++) {
        const bin = (bits[at] & 0x7fffffff) >>> 16;
        const rounded = bin < least ? 0 : Math.round(owed[at] * scale);
        const isSent = rounded !== 0 && (bin > least || left > 0);
        const value = isSent ? Math.max(-largest, Math.min(largest, rounded)) : 0;
        if (isSent && bin === least) left -= 1;
        sums[at] = value;
        owed[at] -= value / scale;
      }
    }
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

  /** The lowest bin of which values are sent, and how many of its own: of those above it, all. */
  #leastSent(): { readonly bin: number; readonly spare: number } {
    let spare = this.#most;
    // Bin 0 holds zeros.
    for (let bin = BINS - 1; bin > 0; bin--) {
      const count = this.#counts[bin];
      if (count >= spare) return { bin, spare };
      spare -= count;
    }
    return { bin: 1, spare };
  }
}
