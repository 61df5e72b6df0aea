/**
 * How far apart two results of the same work are. Where both engines have the same bits on every machine, any difference is too
 * much. Where one has not, honest results differ in their last bits, and rarely by the whole gradient of a unit whose gate (ReLU,
 * the largest of a pool) was so near to the edge that rounding decided it. `TOLERANCES` are above what that comes to
 * (`npm run audits`).
 */

import { SCALAR_UNIT } from "../../shared/codec/index.ts";
import type { Evidence } from "./evidence.ts";

export const TOLERANCES = {
  /** Length of the difference of two gradients beside the longer one's. */
  gradient: 0.05,
  /** Of the sum of losses, beside the larger one. */
  loss: 1e-3,
  /** Of the sums of metrics together: samples whose answer lies on an edge count one way or the other. */
  metrics: 0.02,
  /** Of the blocks: those whose largest exponents differ by more than 1. */
  maxima: 0.25,
} as const;

/** What a unit of weight may differ by where sums are almost zero. */
const SLACK = 1e-5;
/** Samples that may be counted differently however few there are. */
const EDGE_SAMPLES = 1;
/** Blocks whose exponents may differ however few there are. */
const EDGE_BLOCKS = 3;

/** Multiples of the tolerance at which no chance explains a difference. */
export const GROSS = 10;

/** The difference in multiples of what is tolerated: 0 for equal ones, above 1 they do not agree. Infinite for different bits that must not be. */
export function difference(a: Evidence, b: Evidence): number {
  if (isSame(a, b)) return 0;
  if (a.isReproducible && b.isReproducible) return Number.POSITIVE_INFINITY;
  const parts = [gradients(a, b), weights(a, b), losses(a, b), metrics(a, b), exponents(a, b)];
  return Math.max(...parts);
}

export const agree = (a: Evidence, b: Evidence): boolean => difference(a, b) <= 1;

/** Length of the difference of two gradients beside the longer one's: 0 for equal ones, 1 where one of them is zero. */
export function gradientDistance(a: Evidence, b: Evidence): number {
  const longer = Math.max(a.norm, b.norm);
  if (longer === 0) return 0;
  let square = 0;
  for (const [at, value] of a.buckets.entries()) square += (value - b.buckets[at]) ** 2;
  // Longer and shorter differ by their lengths at least, which are known exactly.
  return Math.max(Math.sqrt(square), Math.abs(a.norm - b.norm)) / longer;
}

function isSame(a: Evidence, b: Evidence): boolean {
  return (
    a.fingerprint[0] === b.fingerprint[0] &&
    a.fingerprint[1] === b.fingerprint[1] &&
    a.norm === b.norm &&
    a.loss === b.loss &&
    a.weight === b.weight &&
    a.buckets.every((value, at) => value === b.buckets[at])
  );
}

const gradients = (a: Evidence, b: Evidence): number => gradientDistance(a, b) / TOLERANCES.gradient;

/** The denominator counts what a lease holds: rounding alone makes it differ. */
function weights(a: Evidence, b: Evidence): number {
  const allowed = SLACK * Math.max(a.weight, b.weight) + 1;
  return Math.abs(a.weight - b.weight) / allowed;
}

function losses(a: Evidence, b: Evidence): number {
  const allowed =
    TOLERANCES.loss * Math.max(Math.abs(a.loss), Math.abs(b.loss)) + SLACK * Math.max(a.weight, b.weight) + 1;
  return Math.abs(a.loss - b.loss) / allowed;
}

function metrics(a: Evidence, b: Evidence): number {
  let apart = 0;
  let total = 0;
  for (const [at, value] of a.metrics.entries()) {
    apart += Math.abs(value - b.metrics[at]);
    total += Math.max(Math.abs(value), Math.abs(b.metrics[at]));
  }
  // A sample that moves in a table leaves one place and comes to another.
  return apart / (TOLERANCES.metrics * total + (2 * EDGE_SAMPLES) / SCALAR_UNIT);
}

function exponents(a: Evidence, b: Evidence): number {
  if (a.maxima === null || b.maxima === null) return 0;
  let apart = 0;
  for (const [block, exponent] of a.maxima.entries()) if (Math.abs(exponent - b.maxima[block]) > 1) apart += 1;
  return apart / (TOLERANCES.maxima * a.maxima.length + EDGE_BLOCKS);
}
