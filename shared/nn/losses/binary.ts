/** Losses of yes and no: targets from 0 to 1 of the prediction's own shape. Metric `correct`: on the target's side. */

import type { ValueId } from "../../graph/ir.ts";
import type { GraphWriter } from "../module.ts";
import type { Loss, LossOperands, LossValues } from "./loss.ts";
import {
  abs,
  add,
  isPositive,
  likePrediction,
  meanOfElements,
  mul,
  neg,
  requireAtLeast,
  sub,
  sumSamples,
  TINY,
  weightVector,
} from "./sums.ts";
import { type ClassTable, confusionOf, pairs, rocOf, weighted, yesAndNo } from "./tables.ts";

/** What is measured on held-out samples beside `correct`, over all elements alike: see `ClassMetric`. */
export type BinaryMetric = ClassTable;

export interface BceOptions {
  /** One factor for each element of the last axis. The mean still divides by the number of elements, as in PyTorch. */
  readonly weight?: readonly number[];
  readonly metrics?: readonly BinaryMetric[];
}

export interface BceWithLogitsOptions extends BceOptions {
  /** Factor of the targets' positive part: one number, or one for each element of the last axis. */
  readonly posWeight?: number | readonly number[];
}

const lastOf = (to: GraphWriter, value: ValueId): number => to.shapeOf(value).at(-1) ?? 1;

const scaled = (to: GraphWriter, kind: string, elements: ValueId, weight: readonly number[] | undefined): ValueId =>
  weight === undefined
    ? elements
    : mul(to, elements, weightVector(to, `${kind}'s weight`, weight, lastOf(to, elements)));

/** Where the threshold lies and what a score is, of probabilities and of logits. */
const SCORES = { probability: 0.5, logit: 0 } as const;

/** The sums and tables that compare predictions with targets. */
function measure(
  to: GraphWriter,
  { prediction, target, weight }: LossOperands,
  unit: keyof typeof SCORES,
  metrics: readonly BinaryMetric[],
): Pick<LossValues, "metrics" | "tables"> {
  const threshold = SCORES[unit];
  const tables: Record<string, ValueId> = {};
  const rows = (): ValueId => {
    const [yes, no] = [target, sub(to, to.constant(1), target)].map((part) => weighted(to, part, weight));
    return pairs(to, no, yes);
  };
  if (metrics.includes("confusion")) {
    const above = isPositive(to, sub(to, prediction, to.constant(threshold)));
    tables.confusion = confusionOf(to, rows(), yesAndNo(to, above), "bce");
  }
  if (metrics.includes("auc")) tables.roc = rocOf(to, rows(), prediction, unit);
  return {
    metrics: { correct: countCorrect(to, prediction, target, weight, threshold) },
    ...(metrics.length > 0 ? { tables } : {}),
  };
}

/** How many predictions lie on their target's side of the threshold, weighted; targets are 0 or 1. */
function countCorrect(
  to: GraphWriter,
  prediction: ValueId,
  target: ValueId,
  weight: ValueId,
  threshold: number,
): ValueId {
  const above = isPositive(to, sub(to, prediction, to.constant(threshold)));
  const wrong = abs(to, sub(to, above, target));
  return sumSamples(to, sub(to, to.constant(1), wrong), weight);
}

/** PyTorch's floor of log p. */
const LOWEST_LOG = -100;

/** log p for p in [0, 1], −100 at 0 as in PyTorch, and with a finite derivative everywhere. */
function clampedLog(to: GraphWriter, p: ValueId): ValueId {
  const log = to.emit("Log", [to.emit("Max", [p, to.constant(TINY)], {})], {});
  const isZero = sub(to, to.constant(1), to.emit("Sign", [p], {}));
  return add(to, log, mul(to, isZero, to.constant(LOWEST_LOG - Math.log(TINY))));
}

/**
 * −(t·log p + (1 − t)·log(1 − p)) of probabilities p [N, ...]. Throws GraphError where the weights do not fit.
 * https://pytorch.org/docs/stable/generated/torch.nn.BCELoss.html
 */
export function bce({ weight: factors, metrics = [] }: BceOptions = {}): Loss {
  return {
    kind: "bce",
    target: likePrediction,
    build(to, operands) {
      const { prediction, target, weight } = operands;
      const one = to.constant(1);
      const whenOne = mul(to, target, clampedLog(to, prediction));
      const whenZero = mul(to, sub(to, one, target), clampedLog(to, sub(to, one, prediction)));
      const elements = scaled(to, "bce", neg(to, add(to, whenOne, whenZero)), factors);
      return {
        ...meanOfElements(to, elements, weight),
        ...measure(to, operands, "probability", metrics),
      };
    },
  };
}

/** (1 − t)·x + (1 + (posWeight − 1)·t)·softplus(−x), which neither overflows nor loses digits. */
function positiveWeighted(
  to: GraphWriter,
  logits: ValueId,
  target: ValueId,
  posWeight: number | readonly number[],
): ValueId {
  if (typeof posWeight === "number") requireAtLeast("bceWithLogits's posWeight", posWeight, 0);
  const one = to.constant(1);
  const factor =
    typeof posWeight === "number"
      ? to.constant(posWeight)
      : weightVector(to, "bceWithLogits's posWeight", posWeight, lastOf(to, logits));
  const share = add(to, one, mul(to, sub(to, factor, one), target));
  const whenOne = mul(to, share, to.emit("Softplus", [neg(to, logits)], {}));
  return add(to, mul(to, sub(to, one, target), logits), whenOne);
}

/**
 * The same of logits x: softplus(x) − t·x. Throws GraphError where the weights do not fit.
 * https://pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
 */
export function bceWithLogits({ weight: factors, posWeight, metrics = [] }: BceWithLogitsOptions = {}): Loss {
  return {
    kind: "bceWithLogits",
    target: likePrediction,
    build(to, operands) {
      const { prediction, target, weight } = operands;
      const elements =
        posWeight === undefined
          ? sub(to, to.emit("Softplus", [prediction], {}), mul(to, target, prediction))
          : positiveWeighted(to, prediction, target, posWeight);
      return {
        ...meanOfElements(to, scaled(to, "bceWithLogits", elements, factors), weight),
        ...measure(to, operands, "logit", metrics),
      };
    },
  };
}
