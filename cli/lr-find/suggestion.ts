/**
 * Which learning rate a curve suggests. Two rules are in use, and fastai has both: the rate at which the loss falls most
 * steeply (PyTorch Lightning's, too), and a tenth of the rate at which it is least. The first one is suggested: there training
 * learns fastest, and the place of a steep fall depends less on chance than that of a flat bottom.
 */

import type { Curve } from "./curve.ts";

/** A rate, and where on the smoothed curve it was found. */
export interface Found {
  readonly lr: number;
  readonly smoothed: number;
}

export interface Suggestion {
  /** Where the smoothed loss falls most steeply against the logarithm of the rate. */
  readonly steepest: Found;
  /** Where it is least. */
  readonly least: Found;
  readonly tenthOfLeast: number;
}

/** Fewer points are no curve. */
const FEWEST = 10;
/** The fall must be so many times as large as what the batches differ by. */
const SIGNIFICANT = 2;

const decades = (from: number, to: number): number => Math.log10(to / from);

/** Why there is no suggestion, in words that say what to do; or the suggestion. */
export function suggest({ points, hasDiverged }: Curve): Suggestion | { readonly none: string } {
  if (points.length < FEWEST) {
    const why = hasDiverged ? " before training fell apart: begin lower, with --from, or take more --steps" : "";
    return { none: `no suggestion: only ${points.length} steps were done${why}` };
  }
  const bottom = points.reduce((best, { smoothed }, at) => (smoothed < points[best].smoothed ? at : best), 0);
  const falling = points.slice(0, bottom + 1);
  const top = Math.max(...falling.map(({ smoothed }) => smoothed));
  const spread = Math.sqrt(
    falling.reduce((sum, { loss, smoothed }) => sum + (loss - smoothed) ** 2, 0) / falling.length,
  );
  if (bottom < 2 || top - points[bottom].smoothed <= SIGNIFICANT * spread) {
    return {
      none: hasDiverged
        ? "no suggestion: the loss fell nowhere before training fell apart: begin lower, with --from, or take more --steps"
        : "no suggestion: the loss fell nowhere: try another range, with --from and --to, or look for what is wrong with the model or the data",
    };
  }
  let steepest = 1;
  let slope = Number.POSITIVE_INFINITY;
  for (let at = 1; at < bottom; at++) {
    const [before, after] = [points[at - 1], points[at + 1]];
    const here = (after.smoothed - before.smoothed) / decades(before.lr, after.lr);
    if (here < slope) [steepest, slope] = [at, here];
  }
  return { steepest: points[steepest], least: points[bottom], tenthOfLeast: points[bottom].lr / 10 };
}
