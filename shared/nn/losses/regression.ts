/**
 * Losses of numbers: functions of prediction − target, element by element. Metrics on request: `mae`, the mean absolute
 * error, and `r2`, the coefficient of determination of all elements together.
 */

import type { ValueId } from "../../graph/ir.ts";
import type { GraphWriter } from "../module.ts";
import type { Loss } from "./loss.ts";
import { abs, likePrediction, meanOfElements, mul, neg, requireAtLeast, sub, sumSamples } from "./sums.ts";

/** Mean absolute error, and R² over all elements alike. */
export type RegressionMetric = "mae" | "r2";

/** Options that the losses of numbers share. */
export interface RegressionOptions {
  readonly metrics?: readonly RegressionMetric[];
}

interface Compared {
  readonly difference: ValueId;
  readonly target: ValueId;
  readonly weight: ValueId;
}

/** The sums behind each metric (shared/session/figures.ts). */
const METRICS: Readonly<Record<RegressionMetric, (to: GraphWriter, of: Compared) => Record<string, ValueId>>> = {
  mae: (to, { difference, weight }) => ({ absoluteError: sumSamples(to, abs(to, difference), weight) }),
  r2: (to, { difference, target, weight }) => ({
    squaredError: sumSamples(to, mul(to, difference, difference), weight),
    target: sumSamples(to, target, weight),
    targetSquared: sumSamples(to, mul(to, target, target), weight),
  }),
};

function regression(
  kind: string,
  { metrics = [] }: RegressionOptions,
  elements: (to: GraphWriter, difference: ValueId) => ValueId,
): Loss {
  return {
    kind,
    target: likePrediction,
    build(to, { prediction, target, weight }) {
      const difference = sub(to, prediction, target);
      const sums = metrics.map((metric) => METRICS[metric](to, { difference, target, weight }));
      return {
        ...meanOfElements(to, elements(to, difference), weight),
        metrics: Object.assign({}, ...sums) as Record<string, ValueId>,
      };
    },
  };
}

/** (prediction − target)². https://pytorch.org/docs/stable/generated/torch.nn.MSELoss.html */
export const mse = (options: RegressionOptions = {}): Loss =>
  regression("mse", options, (to, difference) => mul(to, difference, difference));

/** |prediction − target|. https://pytorch.org/docs/stable/generated/torch.nn.L1Loss.html */
export const l1 = (options: RegressionOptions = {}): Loss => regression("l1", options, abs);

/** m·(|d| − m/2) with m = min(|d|, delta): d²/2 below delta, delta·(|d| − delta/2) from there. */
function huberElements(to: GraphWriter, difference: ValueId, delta: number): ValueId {
  const size = abs(to, difference);
  const least = neg(to, to.emit("Max", [neg(to, size), to.constant(-delta)], {}));
  return mul(to, least, sub(to, size, mul(to, least, to.constant(0.5))));
}

/**
 * d²/2 where |d| < delta, else delta·(|d| − delta/2), for d = prediction − target and delta > 0. Throws GraphError.
 * https://pytorch.org/docs/stable/generated/torch.nn.HuberLoss.html
 */
export function huber({ delta = 1, ...options }: RegressionOptions & { readonly delta?: number } = {}): Loss {
  requireAtLeast("huber's delta", delta, Number.MIN_VALUE);
  return regression("huber", options, (to, difference) => huberElements(to, difference, delta));
}

/**
 * d²/(2·beta) where |d| < beta, else |d| − beta/2, for d = prediction − target; with beta 0 it is `l1`. Throws GraphError.
 * https://pytorch.org/docs/stable/generated/torch.nn.SmoothL1Loss.html
 */
export function smoothL1({ beta = 1, ...options }: RegressionOptions & { readonly beta?: number } = {}): Loss {
  requireAtLeast("smoothL1's beta", beta, 0);
  return regression("smoothL1", options, (to, difference) =>
    beta === 0 ? abs(to, difference) : mul(to, huberElements(to, difference, beta), to.constant(1 / beta)),
  );
}
