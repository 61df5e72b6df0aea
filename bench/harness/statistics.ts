/** What a row of measurements says: its middle, and how far the middle half of it spreads. */

export interface Summary {
  readonly median: number;
  /** First and third quartile: half of the measurements lie between them. */
  readonly lower: number;
  readonly upper: number;
}

/** Value at a fraction of the sorted row, between neighbours where it falls there (NumPy's `linear`). Throws on an empty row. */
function quantile(sorted: readonly number[], fraction: number): number {
  if (sorted.length === 0) throw new RangeError("nothing was measured, expected one figure or more");
  const place = (sorted.length - 1) * fraction;
  const before = Math.floor(place);
  const after = Math.min(before + 1, sorted.length - 1);
  return sorted[before] + (sorted[after] - sorted[before]) * (place - before);
}

export function summarize(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  return { median: quantile(sorted, 0.5), lower: quantile(sorted, 0.25), upper: quantile(sorted, 0.75) };
}

/**
 * How two contestants compare, round by round: figures of one round were taken moments apart, so what else the machine
 * did then weighs on both, and their ratio says more than the ratio of two medians.
 */
export function summarizeRatios(numerators: readonly number[], denominators: readonly number[]): Summary {
  if (numerators.length !== denominators.length) {
    throw new RangeError(`${numerators.length} rounds against ${denominators.length}: they were not run together`);
  }
  return summarize(numerators.map((value, round) => value / denominators[round]));
}
