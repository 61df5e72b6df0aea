/**
 * Losses of one class out of several, for a sample or for each of its tokens or pixels. The denominator is the sum of the
 * weights of the targets that count, as in PyTorch. A target that is no class counts as little as `ignoreIndex`.
 */

import { GraphError } from "../../graph/error.ts";
import type { ValueId } from "../../graph/ir.ts";
import type { GraphWriter } from "../module.ts";
import type { Loss, LossOperands, LossValues } from "./loss.ts";
import { add, isPositive, likePrediction, mul, neg, sub, sumLast, sumSamples, weightVector } from "./sums.ts";
import { type ClassTable, confusionOf, rocOf, weighted as weightedRows } from "./tables.ts";

/**
 * `perplexity`: e to the mean −log p of the targets, without smoothing and class weights. `top5`: the target is among 5. On
 * held-out samples alone: `confusion`, which class was taken for which (at most 32 classes), and `auc`, the area under the ROC
 * curve (two classes).
 */
export type ClassMetric = "perplexity" | `top${number}` | ClassTable;

/** Options that `crossEntropy` and `nll` share. */
export interface ClassOptions {
  /** Weight of each class as a target, [classes]; zero or well above 2⁻²⁴, the unit of the sums. */
  readonly classWeights?: readonly number[];
  /** The target that does not count; −100 by default. */
  readonly ignoreIndex?: number;
  /** Where predictions have their classes: 1 is PyTorch's [N, classes, ...], −1 is [N, ..., classes]. */
  readonly classAxis?: 1 | -1;
  readonly metrics?: readonly ClassMetric[];
}

/** Options of `crossEntropy`. */
export interface CrossEntropyOptions extends ClassOptions {
  /** Share of the target that is spread over all classes, from 0 to 1. */
  readonly labelSmoothing?: number;
  /**
   * `probabilities`: targets are float32 of the predictions' own shape, a probability for each class, all of which count, and
   * the mean divides by their number whatever the classes weigh, as in PyTorch. Metrics take the likeliest class for the target.
   */
  readonly targets?: "classes" | "probabilities";
}

/** Largest excess of a float32 sum of a sample's weights over the exact one, with much to spare. */
const ROUNDING = 1 + 2 ** -10;

/** How many targets are among the k largest; targets that do not count have zeros in `target`. All [N, ..., classes]. */
function isAmongLargest(to: GraphWriter, scores: ValueId, target: ValueId, k: number): ValueId {
  const shape = to.shapeOf(scores);
  const own = to.emit("Reshape", [sumLast(to, mul(to, target, scores))], { shape: [0, ...shape.slice(1, -1), 1] });
  const others = sub(to, to.constant(1), target);
  const rank = sumLast(to, mul(to, isPositive(to, sub(to, scores, own)), others)); // [N, ...]
  return mul(to, sumLast(to, target), sub(to, to.constant(1), isPositive(to, sub(to, rank, to.constant(k - 1)))));
}

/** How much higher the second of two classes scores than the first: [N, ...] of [N, ..., 2]. */
function marginOf(to: GraphWriter, scores: ValueId, kind: string): ValueId {
  const classes = to.shapeOf(scores).at(-1);
  if (classes !== 2) throw new GraphError("attribute", `${kind}'s auc is of two classes, there are ${classes}`);
  return sumLast(to, mul(to, scores, to.emit("ConstantVector", [], { values: [-1, 1] })));
}

function topOf(metric: ClassMetric): number | null {
  if (metric === "perplexity" || metric === "confusion" || metric === "auc") return null;
  const k = Number(metric.slice("top".length));
  if (metric.startsWith("top") && Number.isInteger(k) && k >= 1 && k <= 1000) return k;
  throw new GraphError(
    "attribute",
    `there is no metric ${metric}; expected perplexity, confusion, auc, or top1 to top1000`,
  );
}

/** The loss of log-probabilities; `scores` only have to be in the same order. Both as the predictions are laid out. */
function compare(
  to: GraphWriter,
  kind: string,
  {
    logProbability,
    scores,
    target,
    weight,
  }: Omit<LossOperands, "prediction"> & Record<"logProbability" | "scores", ValueId>,
  {
    classWeights,
    ignoreIndex = -100,
    metrics = [],
    labelSmoothing = 0,
    targets: form = "classes",
  }: CrossEntropyOptions,
): LossValues {
  const shape = to.shapeOf(logProbability);
  const classes = shape[shape.length - 1];
  const axis = shape.length - 1;
  const rowsOf = (index: ValueId): ValueId => to.emit("OneHot", [index], { depth: classes });
  const largest = (of: ValueId): ValueId => rowsOf(to.emit("ArgMax", [of], { axis }));
  const isSoft = form === "probabilities";
  const oneHot = isSoft ? largest(target) : rowsOf(target); // [N, ..., classes]
  const all = Array.from({ length: classes }, () => 1);
  const counting = (of: readonly number[]): number[] => of.map((held, index) => (index === ignoreIndex ? 0 : held));

  // Where the ignored index is no class, its row of the one-hot matrix is zero anyway.
  const ignoresClass = !isSoft && ignoreIndex >= 0 && ignoreIndex < classes;
  const counted = ignoresClass ? mul(to, oneHot, weightVector(to, "", counting(all), classes)) : oneHot;
  const name = `${kind}'s classWeights`;
  const weights = classWeights === undefined ? null : weightVector(to, name, classWeights, classes);
  const given = isSoft ? target : counted;
  const weighted = weights === null ? given : mul(to, given, weights);

  const sum = (elements: ValueId): ValueId => sumSamples(to, elements, weight);
  const countedSum = sum(sumLast(to, counted));
  const likelihood = sum(sumLast(to, mul(to, weighted, logProbability)));
  const denominator = weights === null || isSoft ? countedSum : sum(sumLast(to, weighted));

  let loss = neg(to, likelihood);
  if (labelSmoothing > 0) {
    // −Σ over classes of class weight × log p, of each target that counts.
    const spread = sumLast(to, weights === null ? logProbability : mul(to, logProbability, weights));
    const smooth = neg(to, sum(mul(to, spread, sumLast(to, counted))));
    const parts = [
      mul(to, loss, to.constant(1 - labelSmoothing)),
      mul(to, smooth, to.constant(labelSmoothing / classes)),
    ];
    loss = add(to, parts[0], parts[1]);
  }

  const best = largest(scores);
  const sums: Record<string, ValueId> = { correct: sum(sumLast(to, mul(to, best, counted))) };
  for (const metric of metrics) {
    const k = topOf(metric);
    if (k !== null) sums[metric] = sum(isAmongLargest(to, scores, counted, k));
    else if (metric === "perplexity")
      sums.surprise = neg(to, weights === null ? likelihood : sum(sumLast(to, mul(to, given, logProbability))));
  }
  if (weights !== null && !isSoft) sums.counted = countedSum;

  const tables: Record<string, ValueId> = {};
  const rows = (): ValueId => weightedRows(to, counted, weight);
  if (metrics.includes("confusion")) tables.confusion = confusionOf(to, rows(), best, kind);
  if (metrics.includes("auc")) tables.roc = rocOf(to, rows(), marginOf(to, scores, kind), "logit");

  const heaviest = isSoft ? 1 : Math.max(1, ...(classWeights ?? []));
  const targets = shape.slice(1, -1).reduce((size, dimension) => size * dimension, 1);
  return {
    loss,
    weight: denominator,
    metrics: sums,
    ...(Object.keys(tables).length > 0 ? { tables } : {}),
    ...(heaviest > 1 ? { largestWeight: heaviest * targets * ROUNDING } : {}),
  };
}

/** The classes as the last axis. */
function classesLast(to: GraphWriter, prediction: ValueId, classAxis: 1 | -1): ValueId {
  const rank = to.shapeOf(prediction).length;
  if (classAxis === -1 || rank === 2) return prediction;
  const axes = Array.from({ length: rank - 2 }, (_, at) => at + 2);
  return to.emit("Transpose", [prediction], { perm: [0, ...axes, 1] });
}

function targetOf(kind: string, takes: string, { classAxis = 1, targets }: CrossEntropyOptions): Loss["target"] {
  return (shape) => {
    if (shape.length < 2) {
      throw new GraphError("shape", `${kind} takes ${takes} [N, classes, ...], the model gives rank ${shape.length}`);
    }
    if (targets === "probabilities") return likePrediction(shape);
    const others = classAxis === 1 ? shape.slice(2) : shape.slice(1, -1);
    return { dtype: "int32", shape: ["N", ...others] };
  };
}

/**
 * Softmax cross-entropy of logits and class indices (int32): logits [N, classes] and targets [N], or [N, classes, ...] and
 * [N, ...], or with `classAxis: -1` [N, ..., classes]; or targets as `targets` says. Metric `correct`: how many largest logits (the first of equals) are
 * at the target. Throws GraphError where the options do not fit.
 * https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
 */
export function crossEntropy(options: CrossEntropyOptions = {}): Loss {
  const { classAxis = 1, labelSmoothing = 0, targets = "classes", ignoreIndex } = options;
  if (targets === "probabilities" && ignoreIndex !== undefined) {
    throw new GraphError("attribute", "crossEntropy of probabilities has no ignoreIndex: every target counts");
  }
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new GraphError("attribute", `crossEntropy's labelSmoothing is ${labelSmoothing}, expected 0 to 1`);
  }
  return {
    kind: "crossEntropy",
    target: targetOf("crossEntropy", "logits", options),
    build(to, { prediction, target: given, weight }) {
      const scores = classesLast(to, prediction, classAxis);
      const target = targets === "probabilities" ? classesLast(to, given, classAxis) : given;
      const logProbability = to.emit("LogSoftmax", [scores], { axis: to.shapeOf(scores).length - 1 });
      return compare(to, "crossEntropy", { logProbability, scores, target, weight }, options);
    },
  };
}

/**
 * −log p of the targets, of predictions that are log-probabilities (`nn.logSoftmax`), laid out as for `crossEntropy`.
 * Throws GraphError where the options do not fit. https://pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html
 */
export function nll(options: ClassOptions = {}): Loss {
  const { classAxis = 1 } = options;
  return {
    kind: "nll",
    target: targetOf("nll", "log-probabilities", options),
    build(to, { prediction, target, weight }) {
      const logProbability = classesLast(to, prediction, classAxis);
      return compare(to, "nll", { logProbability, scores: logProbability, target, weight }, options);
    },
  };
}
