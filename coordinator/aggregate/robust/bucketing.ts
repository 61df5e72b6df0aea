/**
 * Rows averaged `size` at a time before any aggregator (Karimireddy, He and Jaggi, "Byzantine-Robust Learning on Heterogeneous
 * Datasets via Bucketing", ICLR 2022): honest rows of unlike data, or of little data, become more alike. Nothing is stored: a
 * bucket is averaged when it is read.
 *
 * The paper's rows are of equal work; a volunteer's are not, and a row of one micro-batch is noisier than one of ten. So rows
 * are mixed by work: the heaviest first, each into the lightest bucket that has a place, and within a bucket they count by
 * their weight. f liars spoil at most f buckets, as in the paper, whatever weight they claim.
 */

import { type Rows, SLICE } from "./rows.ts";

/** Which rows are in which bucket. `order` is a permutation of the rows: it decides between rows of equal weight. */
export function bucketsOf(weights: readonly number[], order: readonly number[], size: number): number[][] {
  const buckets = Array.from({ length: Math.ceil(weights.length / size) }, () => ({ rows: [] as number[], weight: 0 }));
  const heaviestFirst = [...order].sort((one, other) => weights[other] - weights[one]);
  for (const row of heaviestFirst) {
    const open = buckets.filter(({ rows }) => rows.length < size);
    const lightest = open.reduce((least, bucket) => (bucket.weight < least.weight ? bucket : least));
    lightest.rows.push(row);
    lightest.weight += weights[row];
  }
  return buckets.map(({ rows }) => rows);
}

export function bucketed(rows: Rows, buckets: readonly (readonly number[])[]): Rows {
  const weights = buckets.map((bucket) => bucket.reduce((sum, row) => sum + rows.weights[row], 0));
  const one = new Float64Array(SLICE);
  return {
    count: buckets.length,
    length: rows.length,
    weights,
    read: (bucket, from, out) => {
      const values = one.subarray(0, out.length);
      out.fill(0);
      for (const row of buckets[bucket]) {
        const share = rows.weights[row] / weights[bucket];
        rows.read(row, from, values);
        for (let at = 0; at < out.length; at++) out[at] += share * values[at];
      }
    },
  };
}
