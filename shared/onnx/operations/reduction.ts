/** Sums, means and extremes along axes, softmax, and the index of the largest. */

import type { ValueId } from "../../graph/ir.ts";
import { sizeOf } from "../../graph/tensor.ts";
import { axisOf, intAttribute, intsAttribute } from "../folding.ts";
import {
  type Operands,
  type Operation,
  requireWithinSample,
  unsupported,
  upTo,
  type Writing,
  writing,
} from "./definition.ts";
import { picked } from "./parts.ts";

/** Axes of a reduction: an attribute, or since opset 13 (sum) and 18 (others) an input; all of them where none are said. */
function reducedAxes({ to, attributes, has, known, raw }: Operands): readonly number[] | null {
  const shape = to.shapeOf(raw(0));
  const listed = intsAttribute(attributes, "axes") ?? (has(1) ? Array.from(known(1)?.data ?? []) : []);
  if (listed.length === 0 && intAttribute(attributes, "noop_with_empty_axes", 0) !== 0) return null;
  const axes = listed.length === 0 ? shape.map((_, axis) => axis) : listed;
  const sorted = [...new Set(axes.map((axis) => axisOf(axis, shape.length)))].sort((a, b) => a - b);
  requireWithinSample(shape, sorted, "reduces");
  return sorted;
}

type Reduce = (x: ValueId, axes: readonly number[], keepdims: boolean, write: Writing) => ValueId;

const reduction =
  (make: (operands: Operands) => Reduce): Operation =>
  (operands) => {
    const axes = reducedAxes(operands);
    if (axes === null || axes.length === 0) return operands.value(0);
    const keepdims = intAttribute(operands.attributes, "keepdims", 1) !== 0;
    return make(operands)(operands.value(0), axes, keepdims, writing(operands.to));
  };

const largest =
  ({ to }: Operands): Reduce =>
  (x, axes, keepdims) =>
    to.emit("ReduceMax", [x], { axes, keepdims });

/** log Σ eˣ, shifted by the largest so that nothing overflows. */
const logSumExp =
  (operands: Operands): Reduce =>
  (x, axes, keepdims, { add, exp, log, sub, sum }) => {
    const { to } = operands;
    const most = largest(operands)(x, axes, true, writing(to));
    const whole = add(log(sum(exp(sub(x, most)), axes)), most);
    const kept = to.shapeOf(whole);
    return keepdims
      ? whole
      : operands.reshape(
          whole,
          kept.filter((_, axis) => !axes.includes(axis)),
        );
  };

const softmaxAxis = ({ to, attributes, value }: Operands): number => {
  const { length } = to.shapeOf(value(0));
  const axis = axisOf(intAttribute(attributes, "axis", -1), length);
  requireWithinSample(to.shapeOf(value(0)), [axis], "normalises");
  return axis;
};

/** The index of the largest along an axis: the first of equal ones, or the last, which is the first one backwards. */
const argument =
  (turn: (write: Writing, x: ValueId) => ValueId): Operation =>
  (operands) => {
    const { to, attributes, value, reshape } = operands;
    const { number, sub } = writing(to);
    const x = turn(writing(to), value(0));
    const shape = to.shapeOf(x);
    const axis = axisOf(intAttribute(attributes, "axis", 0), shape.length);
    requireWithinSample(shape, [axis], "compares");
    const isLast = intAttribute(attributes, "select_last_index", 0) !== 0;
    const first = to.emit("ArgMax", [isLast ? picked(operands, x, axis, upTo(shape[axis]).reverse()) : x], { axis });
    const index = isLast ? sub(number(shape[axis] - 1), to.emit("Cast", [first], { to: "float32" })) : first;
    if (intAttribute(attributes, "keepdims", 1) === 0) return index;
    return reshape(
      index,
      shape.map((size, at) => (at === axis ? 1 : size)),
    );
  };

export const reductions: Readonly<Record<string, Operation>> = {
  ArgMax: argument((_, x) => x),
  ArgMin: argument(({ neg }, x) => neg(x)),
  LogSoftmax: (operands) => operands.to.emit("LogSoftmax", [operands.value(0)], { axis: softmaxAxis(operands) }),
  ReduceL1: reduction(
    () =>
      (x, axes, keepdims, { abs, sum }) =>
        sum(abs(x), axes, keepdims),
  ),
  ReduceL2: reduction(
    () =>
      (x, axes, keepdims, { mul, sqrt, sum }) =>
        sqrt(sum(mul(x, x), axes, keepdims)),
  ),
  ReduceLogSum: reduction(
    () =>
      (x, axes, keepdims, { log, sum }) =>
        log(sum(x, axes, keepdims)),
  ),
  ReduceLogSumExp: reduction(logSumExp),
  ReduceMax: reduction(largest),
  ReduceMean: reduction(
    () =>
      (x, axes, keepdims, { mean }) =>
        mean(x, axes, keepdims),
  ),
  ReduceMin: reduction(
    (operands) => (x, axes, keepdims, write) => write.neg(largest(operands)(write.neg(x), axes, keepdims, write)),
  ),
  ReduceSum: reduction(
    () =>
      (x, axes, keepdims, { sum }) =>
        sum(x, axes, keepdims),
  ),
  ReduceSumSquare: reduction(
    () =>
      (x, axes, keepdims, { mul, sum }) =>
        sum(mul(x, x), axes, keepdims),
  ),
  Softmax: (operands) => operands.to.emit("Softmax", [operands.value(0)], { axis: softmaxAxis(operands) }),
};

/** Spatial axes of [N, C, …]. */
const spatial = (shape: readonly number[]): number[] => shape.map((_, axis) => axis).slice(2);

export const globalPools: Readonly<Record<string, Operation>> = {
  GlobalAveragePool: ({ to, value }) => writing(to).mean(value(0), spatial(to.shapeOf(value(0)))),
  GlobalMaxPool({ to, value }) {
    const axes = spatial(to.shapeOf(value(0)));
    if (axes.length === 0 || sizeOf(to.shapeOf(value(0))) === 0) throw unsupported("it pools over no spatial axis");
    return to.emit("ReduceMax", [value(0)], { axes, keepdims: true });
  },
};
