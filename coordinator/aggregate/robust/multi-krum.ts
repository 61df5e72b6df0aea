/**
 * Blanchard et al., "Machine Learning with Adversaries" (NeurIPS 2017): a row's score is Σ ‖gᵢ − gⱼ‖² over its n − f − 2 nearest
 * others; the result is the mean of the n − f rows of the lowest scores, the earlier row first among equals.
 */

import { type Aggregator, eachSlice, weighted } from "./rows.ts";

/** Of fewer than 2f + 3 rows f is as large as they bear. */
export const multiKrum: Aggregator<{ readonly attackers: number }> = (input, { attackers }) => {
  const { count } = input.rows;
  const liars = Math.max(0, Math.min(attackers, Math.floor((count - 3) / 2)));
  const near = Math.max(0, count - liars - 2);
  const distances = Array.from({ length: count }, () => new Float64Array(count));
  eachSlice(input, ({ rows }) => {
    for (const [one, values] of rows.entries()) {
      for (let other = one + 1; other < count; other++) {
        const others = rows[other];
        let sum = 0;
        for (let at = 0; at < values.length; at++) {
          const difference = values[at] - others[at];
          sum += difference * difference;
        }
        distances[one][other] += sum;
        distances[other][one] += sum;
      }
    }
  });
  const scored = distances.map((from, row) => {
    const others = from.filter((_, other) => other !== row).sort();
    return { row, score: others.subarray(0, near).reduce((sum, value) => sum + value, 0) };
  });
  scored.sort((one, other) => one.score - other.score || one.row - other.row);
  const factors = new Array<number>(count).fill(0);
  for (const { row } of scored.slice(0, count - liars)) factors[row] = 1 / (count - liars);
  return weighted(0, factors);
};
