/**
 * Adam's second moment where gradients come in rare, coarse pieces (codecs `sparse…`): from sums of squares that clients send by row and
 * column (shared/codec/squares.ts), and not from the pieces, whose squares are larger than those of the gradients they stand for.
 * `exp_avg_sq` then holds rowᵢ · columnⱼ / Σ rows of the moving averages, and the kernel leaves it alone.
 *
 * What n results say apart is not what their sum says: noise is in it n times, what they have in common n² times. The latter is
 * taken from the first moment. Left out: penalties and clamped values, which are not in what clients send.
 */

import { addSquares, BLOCK, type Matrix, SCALAR_UNIT, spreadSquares } from "../../shared/codec/index.ts";
import type { Kernels } from "./kernels.ts";

const FIRST = "exp_avg";
const SECOND = "exp_avg_sq";

/** What the results of a step said of their gradients' squares. */
export interface Squares {
  /** Added up over all results, by row and column: of the sums that they are made of, in units of the gradient. */
  readonly sums: Float64Array;
  /** Σ weight² of the results, in units of the loss's denominators. */
  readonly weights: number;
}

export class SecondMoments {
  readonly #kernels: Kernels;
  readonly #matrices: readonly Matrix[];

  constructor(kernels: Kernels, matrices: readonly Matrix[]) {
    this.#kernels = kernels;
    this.#matrices = matrices;
  }

  /**
   * Squares of the step's mean gradient by row and column, before it is decoded. Needs the kernels' scales.
   * @param weight Σ weight in units of 2⁻²⁴
   * @param scale what the mean gradient is multiplied by
   * @param beta1 of the first moment, in its update number `t`, from 1
   */
  estimate(
    { sums, weights }: Squares,
    { weight, scale, beta1, t }: { weight: bigint; scale: number; beta1: number; t: number },
  ): Float32Array<ArrayBuffer> {
    const total = Number(weight) * SCALAR_UNIT;
    const squares = sums.map((sum) => (sum * scale * scale) / (total * total));
    const common = 1 - weights / (total * total);
    if (common > 0) {
      const { sums: pieces, scales } = this.#kernels;
      const first = this.#kernels.states[FIRST];
      const correction = 1 / (1 - beta1 ** t);
      const rest = (1 - beta1) * scale;
      const inCommon = (at: number): number => {
        const moment = correction * (beta1 * first[at] + rest * pieces[at] * scales[Math.floor(at / BLOCK)]);
        return common * moment * moment;
      };
      addSquares(this.#matrices, inCommon, squares);
    }
    return Float32Array.from(squares);
  }

  /** Brings `exp_avg_sq` up to a step's squares. @param decay what is left of the moving averages */
  advance(squares: Float32Array, decay: number): void {
    const second = this.#kernels.states[SECOND];
    const averages = new Float64Array(squares.length);
    addSquares(this.#matrices, (at) => second[at], averages);
    for (const [at, square] of squares.entries()) averages[at] = decay * averages[at] + (1 - decay) * square;
    spreadSquares(this.#matrices, averages, second);
  }
}
