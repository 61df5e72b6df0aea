/** The mean of rows clipped to a length τ, 1/n Σ gᵢ min(1, τ/‖gᵢ‖): each moves the result by at most τ/n. */

import { type Aggregator, distancesFrom, medianOf, weighted } from "./rows.ts";

/** What each row is multiplied by. Without a radius τ is the median length, which a minority of liars cannot move out of the honest ones'. */
export function clipped(lengths: readonly number[], radius: number | undefined): number[] {
  const limit = radius ?? medianOf(lengths);
  return lengths.map((length) => (length > limit ? limit / length : 1) / lengths.length);
}

export const clippedMean: Aggregator<{ readonly radius?: number }> = (input, { radius }) =>
  weighted(0, clipped(distancesFrom(input, 0, []), radius));
