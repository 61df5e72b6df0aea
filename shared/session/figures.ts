/**
 * What is shown of a piece of work besides its loss: figures by name, each a function of sums over samples, so that they do
 * not depend on who computed what (invariant I1). A graph's metrics are the sums; what is left out is any figure that needs
 * more than sums, such as a median.
 */

import type { Graph } from "../graph/ir.ts";
import { metricNames, tableSizes } from "../graph/parameters.ts";
import { tableFigureNames } from "./tables.ts";

type Sums = Readonly<Record<string, number>>;

interface Figure {
  /** Names of the sums that it is made of; they are not shown themselves. */
  readonly from: readonly string[];
  /** `weight` is Σ weight, the loss's denominator. */
  of(sums: Sums, weight: number): number;
}

const FIGURES: Readonly<Record<string, Figure>> = {
  /** Mean absolute error. */
  mae: { from: ["absoluteError"], of: ({ absoluteError }, weight) => absoluteError / weight },
  /** 1 − Σ(y − p)² ÷ Σ(y − mean of y)², over all elements alike. https://en.wikipedia.org/wiki/Coefficient_of_determination */
  r2: {
    from: ["squaredError", "target", "targetSquared"],
    of: ({ squaredError, target, targetSquared }, weight) => 1 - squaredError / (targetSquared - target ** 2 / weight),
  },
  /** e to the mean −log p of the targets that count. */
  perplexity: { from: ["surprise"], of: ({ surprise, counted }) => Math.exp(surprise / counted) },
};

const PARTS = new Set(["counted", ...Object.values(FIGURES).flatMap(({ from }) => from)]);

/**
 * Figures by name: those that the sums suffice for, and every other sum as its mean, such as `correct` or `top5`. Counts
 * are divided by `counted`, the weight of the samples whatever their classes weigh, where the loss has such a sum. A figure
 * that is not finite is left out.
 * @param weight Σ weight, positive
 */
export function figuresOf(sums: Sums, weight: number): Record<string, number> {
  const counted = sums.counted ?? weight;
  const made = Object.entries(FIGURES)
    .filter(([, { from }]) => from.every((name) => Object.hasOwn(sums, name)))
    .map(([name, { of }]): [string, number] => [name, of({ ...sums, counted }, weight)]);
  const means = Object.entries(sums)
    .filter(([name]) => !PARTS.has(name))
    .map(([name, sum]): [string, number] => [name, sum / counted]);
  return Object.fromEntries([...means, ...made].filter(([, value]) => Number.isFinite(value)));
}

/** Names of the figures that sums of these names give. */
export const figureNames = (sums: readonly string[]): string[] =>
  Object.keys(figuresOf(Object.fromEntries(sums.map((name) => [name, 1])), 2));

/** Names of the figures that a session's evaluations have. */
export const heldOutFigureNames = (graph: Pick<Graph, "outputs">): string[] => [
  ...figureNames(metricNames(graph)),
  ...tableFigureNames(tableSizes(graph).map(({ name }) => name)),
];

/** Figures of which more is better; of the loss and of all others, less is. */
const GAINS = /^(auc|correct|r2|top\d+)$/;

export const isGain = (name: string): boolean => GAINS.test(name);

/** Whether a figure is better than another by more than `change`. */
export const isBetter = (name: string, value: number, than: number, change: number): boolean =>
  isGain(name) ? value > than + change : value < than - change;
