/**
 * When a training has gone wrong by its own losses: they explode. Losses jump in healthy trainings too, so all of this must hold for
 * several steps in a row: worse by far than the steps before, against their median and their spread (the median of the distances
 * from it, which a few outliers do not move), and worse than twice what the first step came to.
 */

/** Steps in a row that must be beyond the threshold. */
const IN_A_ROW = 8;
/** Steps that the threshold is taken from, at most and at least. */
const MOST_BEFORE = 64;
const LEAST_BEFORE = 16;
/** Spreads above the median; a spread of a normal distribution is 1.48 median distances. */
const SPREADS = 12 * 1.4826;

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** The losses of a training as they come. */
export class LossWatch {
  /** Of the first step ever; null before there is one. */
  #first: number | null;
  readonly #before: number[] = [];
  /** The newest losses, all beyond the threshold. */
  #beyond: number[] = [];

  constructor(first: number | null) {
    this.#first = first;
  }

  /** Whether the last loss was beyond the threshold: what came of it is better not kept over what was before. */
  get isSuspicious(): boolean {
    return this.#beyond.length > 0;
  }

  /** Takes the next step's loss; answers why the training should be looked at, or null. */
  add(loss: number): string | null {
    this.#first ??= loss;
    const threshold = this.#threshold(this.#first);
    if (loss <= threshold) {
      this.#before.push(...this.#beyond, loss);
      this.#before.splice(0, this.#before.length - MOST_BEFORE);
      this.#beyond = [];
      return null;
    }
    this.#beyond.push(loss);
    if (this.#beyond.length < IN_A_ROW) return null;
    const [usual, least] = [median(this.#before), Math.min(...this.#beyond)].map((value) => value.toPrecision(3));
    return `the loss explodes: ${IN_A_ROW} steps above ${least}, ${usual} is usual: try a smaller learning rate, or clipping`;
  }

  #threshold(first: number): number {
    if (this.#before.length < LEAST_BEFORE) return Number.POSITIVE_INFINITY;
    const middle = median(this.#before);
    const spread = median(this.#before.map((loss) => Math.abs(loss - middle)));
    return Math.max(middle + SPREADS * spread, first + Math.abs(first));
  }
}
