/** Ops along axes: sums, maxima, softmax, and the index of the largest. */

import * as v from "valibot";
import type { ValueId } from "../ir.ts";
import { sizeOf, type Tensor, type TensorType } from "../tensor.ts";
import { type Emitter, type OpDefinition, requireFloat, shapeError, show } from "./definition.ts";

const axisSchema = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(7));

const reduceAttributes = v.strictObject({
  axes: v.pipe(
    v.array(axisSchema),
    v.minLength(1),
    v.check((axes) => axes.every((axis, index) => index === 0 || axis > axes[index - 1]), "axes must rise"),
  ),
  keepdims: v.boolean(),
});

function requireAxes(shape: readonly number[], axes: readonly number[]): void {
  for (const axis of axes) {
    if (axis >= shape.length) throw shapeError(`there is no axis ${axis} in ${show(shape)}`);
  }
}

const keptShape = (shape: readonly number[], axes: readonly number[]): number[] =>
  shape.map((dimension, axis) => (axes.includes(axis) ? 1 : dimension));

function inferReduction([x]: readonly TensorType[], axes: readonly number[], keepdims: boolean): TensorType {
  requireFloat([x]);
  requireAxes(x.shape, axes);
  const shape = keepdims ? keptShape(x.shape, axes) : x.shape.filter((_, axis) => !axes.includes(axis));
  return { dtype: "float32", shape };
}

/** Folds along `axes`, in row-major order of the input. */
function fold(x: Tensor, axes: readonly number[], initial: number, combine: (held: number, value: number) => number) {
  const kept = keptShape(x.shape, axes);
  const out = new Float64Array(sizeOf(kept)).fill(initial);
  const strides = new Array<number>(x.shape.length).fill(0);
  for (let axis = x.shape.length - 1, stride = 1; axis >= 0; axis--) {
    if (!axes.includes(axis)) strides[axis] = stride;
    stride *= kept[axis];
  }
  const position = new Array<number>(x.shape.length).fill(0);
  for (let index = 0; index < x.data.length; index++) {
    let offset = 0;
    for (let axis = 0; axis < position.length; axis++) offset += position[axis] * strides[axis];
    out[offset] = combine(out[offset], x.data[index]);
    for (let axis = position.length - 1; axis >= 0; axis--) {
      position[axis] += 1;
      if (position[axis] < x.shape[axis]) break;
      position[axis] = 0;
    }
  }
  return out;
}

/** A cotangent of a reduced value, seen again with the reduced axes as 1, so that it broadcasts over them. */
function keepAxes(
  to: Emitter,
  gradient: ValueId,
  shape: readonly number[],
  axes: readonly number[],
  keepdims: boolean,
) {
  const reduced = shape.filter((_, axis) => !axes.includes(axis));
  if (keepdims || to.typeOf(gradient).shape.length === 0) return gradient;
  return to.emit("Reshape", [to.expand(gradient, reduced)], { shape: keptShape(shape, axes) });
}

const reduceSum: OpDefinition<"ReduceSum"> = {
  arity: [1, 1],
  attributes: reduceAttributes,
  infer: (inputs, { axes, keepdims }) => inferReduction(inputs, axes, keepdims),
  forward: ([x], { axes }) => fold(x, axes, 0, (sum, value) => sum + value),
  vjp: ({ to, inputs: [x], gradient, attributes: { axes, keepdims } }) => [
    keepAxes(to, gradient, to.typeOf(x).shape, axes, keepdims),
  ],
};

const reduceMax: OpDefinition<"ReduceMax"> = {
  arity: [1, 1],
  attributes: reduceAttributes,
  infer: (inputs, { axes, keepdims }) => inferReduction(inputs, axes, keepdims),
  forward: ([x], { axes }) => fold(x, axes, Number.NEGATIVE_INFINITY, (most, value) => Math.max(most, value)),
  // The mask is 1 where the input is the largest, by 1 − sign(largest − x); equal largest ones all take the gradient.
  vjp({ to, inputs: [x], output, gradient, attributes: { axes, keepdims } }) {
    const { shape } = to.typeOf(x);
    const largest = keepAxes(to, output, shape, axes, keepdims);
    const below = to.emit("Sign", [to.emit("Sub", [largest, x], {})], {});
    const mask = to.emit("Sub", [to.constant(1), below], {});
    return [to.emit("Mul", [keepAxes(to, gradient, shape, axes, keepdims), mask], {})];
  },
};

const softmaxAttributes = v.strictObject({ axis: axisSchema });

function inferSoftmax([x]: readonly TensorType[], { axis }: { readonly axis: number }): TensorType {
  requireFloat([x]);
  requireAxes(x.shape, [axis]);
  return x;
}

/** Calls `row(offsets)` for each line of `shape` along `axis`. */
function eachRow(
  shape: readonly number[],
  axis: number,
  row: (first: number, stride: number, length: number) => void,
): void {
  const length = shape[axis];
  const stride = sizeOf(shape.slice(axis + 1));
  for (let outer = 0; outer < sizeOf(shape.slice(0, axis)); outer++) {
    for (let inner = 0; inner < stride; inner++) row(outer * length * stride + inner, stride, length);
  }
}

/** x − log Σ exp(x) along the axis, shifted by the row's largest. */
function logSoftmaxOf({ shape, data }: Tensor, axis: number): Float64Array {
  const out = new Float64Array(data.length);
  eachRow(shape, axis, (first, stride, length) => {
    let largest = Number.NEGATIVE_INFINITY;
    for (let at = 0; at < length; at++) largest = Math.max(largest, data[first + at * stride]);
    let sum = 0;
    for (let at = 0; at < length; at++) sum += Math.exp(data[first + at * stride] - largest);
    const shift = largest + Math.log(sum);
    for (let at = 0; at < length; at++) out[first + at * stride] = data[first + at * stride] - shift;
  });
  return out;
}

const softmax: OpDefinition<"Softmax"> = {
  arity: [1, 1],
  attributes: softmaxAttributes,
  infer: inferSoftmax,
  forward: ([x], { axis }) => logSoftmaxOf(x, axis).map(Math.exp),
  // dx = y·(dy − Σ dy·y)
  vjp({ to, output, gradient, attributes: { axis } }) {
    const product = to.emit("Mul", [gradient, output], {});
    const sum = to.emit("ReduceSum", [product], { axes: [axis], keepdims: true });
    return [to.emit("Mul", [output, to.emit("Sub", [gradient, sum], {})], {})];
  },
};

const logSoftmax: OpDefinition<"LogSoftmax"> = {
  arity: [1, 1],
  attributes: softmaxAttributes,
  infer: inferSoftmax,
  forward: ([x], { axis }) => logSoftmaxOf(x, axis),
  // dx = dy − exp(y)·Σ dy
  vjp({ to, output, gradient, attributes: { axis } }) {
    const dy = to.expand(gradient, to.typeOf(output).shape);
    const sum = to.emit("ReduceSum", [dy], { axes: [axis], keepdims: true });
    const share = to.emit("Mul", [to.emit("Exp", [output], {}), sum], {});
    return [to.emit("Sub", [dy, share], {})];
  },
};

const argMax: OpDefinition<"ArgMax"> = {
  arity: [1, 1],
  attributes: softmaxAttributes,
  infer([x], { axis }) {
    requireFloat([x]);
    requireAxes(x.shape, [axis]);
    return { dtype: "int32", shape: x.shape.filter((_, at) => at !== axis) };
  },
  forward([x], { axis }, { shape }) {
    const out = new Float64Array(sizeOf(shape));
    let next = 0;
    eachRow(x.shape, axis, (first, stride, length) => {
      let best = 0;
      for (let at = 1; at < length; at++) {
        if (x.data[first + at * stride] > x.data[first + best * stride]) best = at;
      }
      out[next++] = best;
    });
    return out;
  },
  vjp: () => [null],
};

export const reduction = {
  ReduceSum: reduceSum,
  ReduceMax: reduceMax,
  Softmax: softmax,
  LogSoftmax: logSoftmax,
  ArgMax: argMax,
} as const;
