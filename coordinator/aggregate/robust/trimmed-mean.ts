/**
 * Yin et al., "Byzantine-Robust Distributed Learning" (ICML 2018), definition 2: per coordinate, the mean without the f largest
 * and the f smallest values. With up to f liars every coordinate stays within the range of the honest values.
 */

import type { Aggregator, Combine } from "./rows.ts";
import { sorter } from "./sort.ts";

/** Of fewer than 2f + 1 rows as many are left out as leave one, or two: the median. */
export const trimmedMean: Aggregator<{ readonly attackers: number }> = ({ rows }, { attackers }) =>
  trim(rows.count, Math.min(attackers, Math.floor((rows.count - 1) / 2)));

/** The mean of ranks `cut` to `count − cut`, by coordinate. */
export function trim(count: number, cut: number): Combine {
  const sort = sorter(count);
  const kept = count - 2 * cut;
  return ({ rows }, out) => {
    sort(rows);
    out.fill(0);
    for (let rank = cut; rank < cut + kept; rank++) {
      const values = rows[rank];
      for (let at = 0; at < out.length; at++) out[at] += values[at];
    }
    for (let at = 0; at < out.length; at++) out[at] /= kept;
  };
}
