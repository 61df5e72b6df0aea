/** How a loss of elements becomes sums over samples, and the arithmetic that losses are written in. */

import { GraphError } from "../../graph/error.ts";
import type { Dimension, DType, ValueId } from "../../graph/ir.ts";
import type { GraphWriter } from "../module.ts";

export const add = (to: GraphWriter, a: ValueId, b: ValueId): ValueId => to.emit("Add", [a, b], {});
export const sub = (to: GraphWriter, a: ValueId, b: ValueId): ValueId => to.emit("Sub", [a, b], {});
export const mul = (to: GraphWriter, a: ValueId, b: ValueId): ValueId => to.emit("Mul", [a, b], {});
export const neg = (to: GraphWriter, a: ValueId): ValueId => to.emit("Neg", [a], {});
export const abs = (to: GraphWriter, a: ValueId): ValueId => to.emit("Abs", [a], {});

/** 1 where x > 0, else 0; no gradient. */
export const isPositive = (to: GraphWriter, x: ValueId): ValueId => to.emit("Sign", [to.emit("Relu", [x], {})], {});

/** The sum over the last axis, which is removed. */
export const sumLast = (to: GraphWriter, value: ValueId): ValueId =>
  to.emit("ReduceSum", [value], { axes: [to.shapeOf(value).length - 1], keepdims: false });

export function sumAll(to: GraphWriter, value: ValueId): ValueId {
  const axes = to.shapeOf(value).map((_, axis) => axis);
  return axes.length === 0 ? value : to.emit("ReduceSum", [value], { axes, keepdims: false });
}

/** Σ over samples of weight × the sum of the sample's elements; elements [N, ...], weight [N]. */
export function sumSamples(to: GraphWriter, elements: ValueId, weight: ValueId): ValueId {
  const axes = to.shapeOf(elements).flatMap((_, axis) => (axis === 0 ? [] : [axis]));
  const perSample = axes.length === 0 ? elements : to.emit("ReduceSum", [elements], { axes, keepdims: false });
  return sumAll(to, mul(to, perSample, weight));
}

/** Σ weight × element, and Σ weight × number of elements: the denominator of PyTorch's `mean`. */
export function meanOfElements(
  to: GraphWriter,
  elements: ValueId,
  weight: ValueId,
): { loss: ValueId; weight: ValueId } {
  const perSample = to
    .shapeOf(elements)
    .slice(1)
    .reduce((size, dimension) => size * dimension, 1);
  const total = sumAll(to, weight);
  return {
    loss: sumSamples(to, elements, weight),
    weight: perSample === 1 ? total : mul(to, total, to.constant(perSample)),
  };
}

/** Targets of the prediction's own shape. */
export const likePrediction = (shape: readonly number[]): { dtype: DType; shape: readonly Dimension[] } => ({
  dtype: "float32",
  shape: ["N", ...shape.slice(1)],
});

/** Smallest normal float32: what is raised to it before its logarithm is taken. */
export const TINY = 1.1754943508222875e-38;

/** Throws GraphError `attribute` unless the option is a finite number of at least `least`. */
export function requireAtLeast(what: string, value: number, least: number): void {
  if (!Number.isFinite(value) || value < least) {
    throw new GraphError("attribute", `${what} is ${value}, expected a number of at least ${least}`);
  }
}

/** A vector of weights as a value [values.length]. Throws GraphError unless there is one of at least 0 for each of `size`. */
export function weightVector(to: GraphWriter, what: string, values: readonly number[], size: number): ValueId {
  if (values.length !== size) {
    throw new GraphError("attribute", `${what} has ${values.length} numbers, expected ${size}: one for each class`);
  }
  for (const value of values) requireAtLeast(`a number of ${what}`, value, 0);
  return to.emit("ConstantVector", [], { values });
}
