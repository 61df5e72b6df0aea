/**
 * What a learning-rate test measured: a loss for each rate, smoothed, up to where training fell apart. Plain functions of the
 * points.
 */

/** A step of the test: the loss of its batch, and the rate of the update that it led to. */
export interface Measured {
  readonly lr: number;
  readonly loss: number;
}

export interface SmoothedPoint extends Measured {
  readonly smoothed: number;
}

export interface Curve {
  /** In the order of the rates. The last one is where training fell apart, if it did. */
  readonly points: readonly SmoothedPoint[];
  readonly hasDiverged: boolean;
}

/** Parts of the planned steps that averages are over: of the curve, and of the loss that tells whether training falls apart. */
const [CURVE, ALARM] = [0.03, 0.1];
/** Training has fallen apart where the smoothed loss is so many times the best. */
const DIVERGED = 4;

/** What an average over about so many steps keeps, from one step to the next, of what came before. */
const memoryOf = (steps: number): number => steps / (1 + steps);

/** The exponential moving average with its bias corrected, as Adam's moments are and as fastai smooths losses. */
export function movingAverage(values: readonly number[], memory: number): number[] {
  let [sum, weight] = [0, 0];
  return values.map((value) => {
    sum = memory * sum + value;
    weight = memory * weight + 1;
    return sum / weight;
  });
}

/**
 * The same average of what came before and of what comes after: a value `d` steps away weighs memory^d. An average of the past
 * alone shows everything some steps late, and so at too large a rate.
 */
export function smooth(values: readonly number[], memory: number): number[] {
  const weigh = (ordered: readonly number[]): { sum: number; weight: number }[] => {
    let [sum, weight] = [0, 0];
    return ordered.map((value) => {
      sum = memory * sum + value;
      weight = memory * weight + 1;
      return { sum, weight };
    });
  };
  const before = weigh(values);
  const after = weigh([...values].reverse()).reverse();
  // Its own value is in both.
  return values.map(
    (value, at) => (before[at].sum + after[at].sum - value) / (before[at].weight + after[at].weight - 1),
  );
}

interface Ending {
  /** Index of the step at which training has fallen apart, or −1. */
  readonly at: number;
  /** A larger loss says no more than this one does: one of 1e9 would be all that an average over it shows. */
  readonly cap: number;
}

function endingOf(losses: readonly number[], memory: number): Ending {
  // Before that the average is of the first few batches, which say little.
  const settled = 1 / (1 - memory);
  let [best, highest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const [at, average] of movingAverage(losses, memory).entries()) {
    if (!Number.isFinite(average)) return { at, cap: highest };
    if (at >= settled) best = Math.min(best, average);
    // Losses below 0 have no fourfold: as far from the best as three times its size.
    const limit = best + (DIVERGED - 1) * Math.abs(best);
    if (average > limit) return { at, cap: Math.max(limit, highest) };
    highest = Math.max(highest, average);
  }
  return { at: -1, cap: Number.POSITIVE_INFINITY };
}

export interface Measurement {
  /** What was measured so far, in order. */
  readonly steps: readonly Measured[];
  /** Steps of the whole test. */
  readonly planned: number;
  /** Whether the session itself came to an end because a gradient was not finite. */
  readonly failed: boolean;
}

export function curveOf({ steps, planned, failed }: Measurement): Curve {
  const { at, cap } = endingOf(
    steps.map(({ loss }) => loss),
    memoryOf(ALARM * planned),
  );
  const shown = steps.slice(0, at < 0 ? undefined : at + 1).filter(({ loss }) => Number.isFinite(loss));
  const smoothed = smooth(
    shown.map(({ loss }) => Math.min(loss, cap)),
    memoryOf(CURVE * planned),
  );
  return {
    points: shown.map((point, index) => ({ ...point, smoothed: smoothed[index] })),
    hasDiverged: failed || at >= 0,
  };
}
