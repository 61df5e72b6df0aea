/**
 * Karimireddy et al., "Learning from History for Byzantine Robust Optimization" (ICML 2021): v ← v + 1/n Σ (gᵢ − v) min(1, τ/‖gᵢ − v‖),
 * begun from the last step's result. v is always a mixture of that centre and the rows, so only its factors are kept.
 */

import { clipped } from "./clipped-mean.ts";
import { type Aggregator, distancesFrom, weighted } from "./rows.ts";

/** Without a radius τ is the median distance, anew in each round. */
export const centeredClipping: Aggregator<{ readonly radius?: number; readonly rounds?: number }> = (
  input,
  { radius, rounds = 1 },
) => {
  let center = 1;
  let factors = new Array<number>(input.rows.count).fill(0);
  for (let round = 0; round < rounds; round++) {
    const pulls = clipped(distancesFrom(input, center, factors), radius);
    const stay = 1 - pulls.reduce((sum, pull) => sum + pull, 0);
    center *= stay;
    factors = factors.map((factor, row) => stay * factor + pulls[row]);
  }
  return weighted(center, factors);
};
