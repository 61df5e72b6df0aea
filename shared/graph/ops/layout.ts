/** Ops that move or repeat elements, or say them otherwise: reshape, transpose, expand, one-hot, cast. */

import * as v from "valibot";
import { broadcast, broadcastStrides, sameShape, sizeOf, walk } from "../tensor.ts";
import { type OpDefinition, requireFloat, shapeError, show } from "./definition.ts";

const dimension = v.pipe(v.number(), v.integer(), v.maxValue(2 ** 31));
const MAX_RANK = 8;

const reshape: OpDefinition<"Reshape"> = {
  arity: [1, 1],
  attributes: v.strictObject({ shape: v.pipe(v.array(v.pipe(dimension, v.minValue(-1))), v.maxLength(MAX_RANK)) }),
  infer([x], { shape }) {
    if (shape.filter((size) => size === -1).length > 1) throw shapeError(`more than one −1 in ${show(shape)}`);
    const copied = shape.map((size, axis) => {
      if (size !== 0) return size;
      if (axis >= x.shape.length) throw shapeError(`0 at axis ${axis} copies no axis of ${show(x.shape)}`);
      return x.shape[axis];
    });
    const known = copied.reduce((size, next) => (next === -1 ? size : size * next), 1);
    const whole = copied.map((size) => (size === -1 ? sizeOf(x.shape) / known : size));
    if (sizeOf(whole) !== sizeOf(x.shape) || !whole.every(Number.isInteger)) {
      throw shapeError(`${show(x.shape)} cannot be reshaped to ${show(shape)}`);
    }
    return { dtype: x.dtype, shape: whole };
  },
  forward: ([x]) => x.data,
  vjp({ to, inputs: [x], output, gradient }) {
    if (to.typeOf(gradient).shape.length === 0) return [gradient];
    const whole = to.expand(gradient, to.typeOf(output).shape);
    return [to.emit("Reshape", [whole], { shape: to.typeOf(x).shape })];
  },
};

const transpose: OpDefinition<"Transpose"> = {
  arity: [1, 1],
  attributes: v.strictObject({
    perm: v.pipe(v.array(v.pipe(dimension, v.minValue(0), v.maxValue(MAX_RANK - 1))), v.maxLength(MAX_RANK)),
  }),
  infer([x], { perm }) {
    requireFloat([x]);
    if (
      perm.length !== x.shape.length ||
      new Set(perm).size !== perm.length ||
      perm.some((axis) => axis >= perm.length)
    ) {
      throw shapeError(`${show(perm)} does not permute the axes of ${show(x.shape)}`);
    }
    return { dtype: x.dtype, shape: perm.map((axis) => x.shape[axis]) };
  },
  forward([x], { perm }, { shape }) {
    const strides = x.shape.map((_, axis) => sizeOf(x.shape.slice(axis + 1)));
    const out = new Float64Array(x.data.length);
    walk(
      shape,
      perm.map((axis) => strides[axis]),
      (index, offset) => {
        out[index] = x.data[offset];
      },
    );
    return out;
  },
  vjp({ to, output, gradient, attributes: { perm } }) {
    const whole = to.expand(gradient, to.typeOf(output).shape);
    return [to.emit("Transpose", [whole], { perm: perm.map((_, axis) => perm.indexOf(axis)) })];
  },
};

const expand: OpDefinition<"Expand"> = {
  arity: [1, 1],
  attributes: v.strictObject({
    shape: v.pipe(v.array(v.union([v.pipe(dimension, v.minValue(1)), v.literal("N")])), v.maxLength(MAX_RANK)),
  }),
  infer([x], { shape }, microBatch) {
    const target = shape.map((size) => (size === "N" ? microBatch : size));
    if (!sameShape(broadcast(x.shape, target) ?? [], target)) {
      throw shapeError(`${show(x.shape)} does not broadcast to ${show(target)}`);
    }
    return { dtype: x.dtype, shape: target };
  },
  forward([x], _, { shape }) {
    const out = new Float64Array(sizeOf(shape));
    walk(shape, broadcastStrides(x.shape, shape), (index, offset) => {
      out[index] = x.data[offset];
    });
    return out;
  },
  vjp: ({ to, inputs: [x], output, gradient }) => [
    to.reduceTo(to.expand(gradient, to.typeOf(output).shape), to.typeOf(x).shape),
  ],
};

const oneHot: OpDefinition<"OneHot"> = {
  arity: [1, 1],
  attributes: v.strictObject({ depth: v.pipe(dimension, v.minValue(1)) }),
  infer([x], { depth }) {
    if (x.dtype !== "int32") throw shapeError(`OneHot takes int32 indices, got ${x.dtype}`);
    return { dtype: "float32", shape: [...x.shape, depth] };
  },
  forward([x], { depth }) {
    const out = new Float64Array(x.data.length * depth);
    for (const [row, index] of x.data.entries()) {
      if (index >= 0 && index < depth) out[row * depth + index] = 1;
    }
    return out;
  },
  vjp: () => [null],
};

const cast: OpDefinition<"Cast"> = {
  arity: [1, 1],
  attributes: v.strictObject({ to: v.picklist(["float32", "int32"]) }),
  infer([x], { to }) {
    if (x.dtype === to) throw shapeError(`Cast to ${to} takes another type, got ${x.dtype}`);
    return { dtype: to, shape: x.shape };
  },
  forward: ([x], { to }) => (to === "int32" ? x.data.map(Math.trunc) : x.data),
  vjp: () => [null],
};

export const layout = { Reshape: reshape, Transpose: transpose, Expand: expand, OneHot: oneHot, Cast: cast } as const;
