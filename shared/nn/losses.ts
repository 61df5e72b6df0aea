/**
 * Losses by PyTorch's names, each as a pair of sums: Σ weight × loss and Σ weight. The coordinator divides once, which
 * gives PyTorch's `mean` exactly, however a batch was cut; padding has weight 0.
 * https://pytorch.org/docs/stable/nn.html#loss-functions
 */

import { GraphError } from "../graph/error.ts";
import type { Dimension, DType, ValueId } from "../graph/ir.ts";
import type { GraphWriter } from "./module.ts";

/** What a loss adds to the graph: scalars, each a sum over the micro-batch. */
export interface LossValues {
  readonly loss: ValueId;
  readonly weight: ValueId;
  readonly metrics: Readonly<Record<string, ValueId>>;
}

/** What training makes small. The functions of `loss` return the ones there are. */
export interface Loss {
  readonly kind: string;
  /** Type and shape of the targets that go with predictions of `shape` ([N, ...] with N bound). */
  target(shape: readonly number[]): { readonly dtype: DType; readonly shape: readonly Dimension[] };
  /** Adds the nodes that compare predictions with targets, weighted by sample. */
  build(to: GraphWriter, values: { prediction: ValueId; target: ValueId; weight: ValueId }): LossValues;
}

const sumOver = (to: GraphWriter, value: ValueId): ValueId => {
  const axes = to.shapeOf(value).map((_, axis) => axis);
  return axes.length === 0 ? value : to.emit("ReduceSum", [value], { axes, keepdims: false });
};

const mul = (to: GraphWriter, a: ValueId, b: ValueId): ValueId => to.emit("Mul", [a, b], {});
const add = (to: GraphWriter, a: ValueId, b: ValueId): ValueId => to.emit("Add", [a, b], {});
const sub = (to: GraphWriter, a: ValueId, b: ValueId): ValueId => to.emit("Sub", [a, b], {});

/** Σ over rows of weight × row sum, for element losses of shape [N, ...]; the denominator counts elements, as PyTorch's mean does. */
function reduceElements(to: GraphWriter, elements: ValueId, weight: ValueId): { loss: ValueId; weight: ValueId } {
  const shape = to.shapeOf(elements);
  const rows = shape.slice(1).map((_, axis) => axis + 1);
  const row = rows.length === 0 ? elements : to.emit("ReduceSum", [elements], { axes: rows, keepdims: false });
  const perRow = shape.slice(1).reduce((size, dimension) => size * dimension, 1);
  const total = sumOver(to, weight);
  return {
    loss: sumOver(to, mul(to, row, weight)),
    weight: perRow === 1 ? total : mul(to, total, to.constant(perRow)),
  };
}

/** Targets of the prediction's own shape. */
const likePrediction = (shape: readonly number[]): { dtype: DType; shape: readonly Dimension[] } => ({
  dtype: "float32",
  shape: ["N", ...shape.slice(1)],
});

/**
 * Softmax cross-entropy of logits [N, classes] and class indices [N] (int32).
 * Metric `correct`: how many largest logits (the first of equals) are at the target.
 */
export function crossEntropy(): Loss {
  return {
    kind: "crossEntropy",
    target(shape) {
      if (shape.length !== 2) {
        throw new GraphError("shape", `crossEntropy takes logits [N, classes], the model gives rank ${shape.length}`);
      }
      return { dtype: "int32", shape: ["N"] };
    },
    build(to, { prediction, target, weight }) {
      const depth = to.shapeOf(prediction)[1];
      const sumClasses = (value: ValueId): ValueId => to.emit("ReduceSum", [value], { axes: [1], keepdims: false });
      const oneHot = to.emit("OneHot", [target], { depth }); // [N, classes]
      const logProbability = to.emit("LogSoftmax", [prediction], { axis: 1 });
      const likelihood = sumClasses(mul(to, oneHot, logProbability)); // [N]
      const best = to.emit("OneHot", [to.emit("ArgMax", [prediction], { axis: 1 })], { depth });
      const correct = sumClasses(mul(to, best, oneHot)); // [N]
      return {
        loss: to.emit("Neg", [sumOver(to, mul(to, likelihood, weight))], {}),
        weight: sumOver(to, weight),
        metrics: { correct: sumOver(to, mul(to, correct, weight)) },
      };
    },
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
  const above = to.emit("Sign", [to.emit("Relu", [sub(to, prediction, to.constant(threshold))], {})], {});
  const wrong = to.emit("Abs", [sub(to, above, target)], {});
  return reduceElements(to, sub(to, to.constant(1), wrong), weight).loss;
}

/** Smallest normal float32: what a probability is raised to before its logarithm is taken. */
const TINY = 1.1754943508222875e-38;

/** PyTorch's floor of log p. */
const LOWEST_LOG = -100;

/** log p for p in [0, 1], −100 at 0 as in PyTorch, and with a finite derivative everywhere. */
function clampedLog(to: GraphWriter, p: ValueId): ValueId {
  const log = to.emit("Log", [to.emit("Max", [p, to.constant(TINY)], {})], {});
  const isZero = sub(to, to.constant(1), to.emit("Sign", [p], {}));
  return add(to, log, mul(to, isZero, to.constant(LOWEST_LOG - Math.log(TINY))));
}

/** −(t·log p + (1 − t)·log(1 − p)) of probabilities [N, ...] and targets of the same shape. */
export function bce(): Loss {
  return {
    kind: "bce",
    target: likePrediction,
    build(to, { prediction, target, weight }) {
      const one = to.constant(1);
      const whenOne = mul(to, target, clampedLog(to, prediction));
      const whenZero = mul(to, sub(to, one, target), clampedLog(to, sub(to, one, prediction)));
      const elements = to.emit("Neg", [add(to, whenOne, whenZero)], {});
      return {
        ...reduceElements(to, elements, weight),
        metrics: { correct: countCorrect(to, prediction, target, weight, 0.5) },
      };
    },
  };
}

/** The same of logits: softplus(x) − t·x, which neither overflows nor loses digits. */
export function bceWithLogits(): Loss {
  return {
    kind: "bceWithLogits",
    target: likePrediction,
    build(to, { prediction, target, weight }) {
      const elements = sub(to, to.emit("Softplus", [prediction], {}), mul(to, target, prediction));
      return {
        ...reduceElements(to, elements, weight),
        metrics: { correct: countCorrect(to, prediction, target, weight, 0) },
      };
    },
  };
}

/** (prediction − target)² */
export function mse(): Loss {
  return {
    kind: "mse",
    target: likePrediction,
    build(to, { prediction, target, weight }) {
      const difference = sub(to, prediction, target);
      return { ...reduceElements(to, mul(to, difference, difference), weight), metrics: {} };
    },
  };
}
