/** Ops that take tensors apart and put them together: slice, pad with zeros, concatenate. */

import * as v from "valibot";
import type { ValueId } from "../ir.ts";
import { sizeOf, walk } from "../tensor.ts";
import { type Emitter, type OpDefinition, requireFloat, shapeError, show } from "./definition.ts";

const MAX_RANK = 8;
const natural = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 31 - 1));
const naturals = v.pipe(v.array(natural), v.maxLength(MAX_RANK));

const stridesOf = (shape: readonly number[]): number[] => shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));

/** Row-major offset in `shape` of the element at `position`. */
const offsetOf = (shape: readonly number[], position: readonly number[]): number =>
  position.reduce((offset, at, axis) => offset * shape[axis] + at, 0);

/** The cotangent of every `step`-th element along an axis, with zeros in between. */
function spaceOut(to: Emitter, id: ValueId, axis: number, step: number): ValueId {
  if (step === 1) return id;
  const { shape } = to.typeOf(id);
  const [before, after] = [shape.slice(0, axis + 1), shape.slice(axis + 1)];
  const apart = to.emit("Reshape", [id], { shape: [...before, 1, ...after] });
  const zeros = (at: number): number[] =>
    Array.from({ length: shape.length + 1 }, (_, index) => (index === axis + 1 ? at : 0));
  const padded = to.emit("Pad", [apart], { pads: [...zeros(0), ...zeros(step - 1)] });
  return to.emit("Reshape", [padded], { shape: shape.map((size, index) => (index === axis ? size * step : size)) });
}

const slice: OpDefinition<"Slice"> = {
  arity: [1, 1],
  attributes: v.strictObject({
    starts: naturals,
    ends: naturals,
    axes: naturals,
    steps: v.pipe(v.array(v.pipe(natural, v.minValue(1))), v.maxLength(MAX_RANK)),
  }),
  infer([x], { starts, ends, axes, steps }) {
    requireFloat([x]);
    const shape = [...x.shape];
    if (new Set(axes).size !== axes.length || [starts, ends, steps].some(({ length }) => length !== axes.length)) {
      throw shapeError(`expected one start, end and step for each of the distinct axes ${show(axes)}`);
    }
    for (const [index, axis] of axes.entries()) {
      const [start, end] = [starts[index], ends[index]];
      if (axis >= shape.length) throw shapeError(`there is no axis ${axis} in ${show(x.shape)}`);
      if (start >= end || end > shape[axis]) {
        throw shapeError(`${start} to ${end} is no part of axis ${axis} of ${show(x.shape)}`);
      }
      shape[axis] = Math.ceil((end - start) / steps[index]);
    }
    return { dtype: x.dtype, shape };
  },
  forward([x], { starts, axes, steps }, { shape }) {
    const out = new Float64Array(sizeOf(shape));
    const strides = stridesOf(x.shape);
    const first = axes.reduce((offset, axis, index) => offset + starts[index] * strides[axis], 0);
    for (const [index, axis] of axes.entries()) strides[axis] *= steps[index];
    walk(shape, strides, (index, offset) => {
      out[index] = x.data[first + offset];
    });
    return out;
  },
  vjp({ to, inputs: [x], output, gradient, attributes: { starts, axes, steps } }) {
    const { shape } = to.typeOf(x);
    let whole = to.expand(gradient, to.typeOf(output).shape);
    const begins = shape.map(() => 0);
    for (const [index, axis] of axes.entries()) {
      whole = spaceOut(to, whole, axis, steps[index]);
      begins[axis] = starts[index];
      const over = starts[index] + to.typeOf(whole).shape[axis] - shape[axis];
      if (over > 0) {
        const ends = [to.typeOf(whole).shape[axis] - over];
        whole = to.emit("Slice", [whole], { starts: [0], ends, axes: [axis], steps: [1] });
      }
    }
    const spread = to.typeOf(whole).shape;
    const ends = shape.map((size, axis) => size - begins[axis] - spread[axis]);
    return [to.emit("Pad", [whole], { pads: [...begins, ...ends] })];
  },
};

const pad: OpDefinition<"Pad"> = {
  arity: [1, 1],
  attributes: v.strictObject({ pads: v.pipe(v.array(natural), v.maxLength(2 * MAX_RANK)) }),
  infer([x], { pads }) {
    requireFloat([x]);
    const rank = x.shape.length;
    if (pads.length !== 2 * rank) {
      throw shapeError(`there are ${pads.length} pads, expected a begin and an end for each axis of ${show(x.shape)}`);
    }
    return { dtype: x.dtype, shape: x.shape.map((size, axis) => pads[axis] + size + pads[axis + rank]) };
  },
  forward([x], { pads }, { shape }) {
    const out = new Float64Array(sizeOf(shape));
    const first = offsetOf(shape, pads.slice(0, shape.length));
    walk(x.shape, stridesOf(shape), (index, offset) => {
      out[first + offset] = x.data[index];
    });
    return out;
  },
  vjp({ to, inputs: [x], gradient, attributes: { pads } }) {
    const { shape } = to.typeOf(x);
    // A number that stands for every element stands for the inner ones, too.
    if (to.typeOf(gradient).shape.length === 0) return [gradient];
    const outer = shape.map((size, axis) => pads[axis] + size + pads[axis + shape.length]);
    const axes = shape.flatMap((size, axis) => (outer[axis] === size ? [] : [axis]));
    if (axes.length === 0) return [gradient];
    const starts = axes.map((axis) => pads[axis]);
    const ends = axes.map((axis) => pads[axis] + shape[axis]);
    const steps = axes.map(() => 1);
    return [to.emit("Slice", [to.expand(gradient, outer)], { starts, ends, axes, steps })];
  },
};

const concat: OpDefinition<"Concat"> = {
  // As many as a node may have.
  arity: [1, 8],
  attributes: v.strictObject({ axis: v.pipe(natural, v.maxValue(MAX_RANK - 1)) }),
  infer(inputs, { axis }) {
    requireFloat(inputs);
    const [{ shape }] = inputs;
    if (axis >= shape.length) throw shapeError(`there is no axis ${axis} in ${show(shape)}`);
    for (const other of inputs) {
      if (other.shape.length !== shape.length || other.shape.some((size, at) => at !== axis && size !== shape[at])) {
        throw shapeError(`${show(shape)} and ${show(other.shape)} differ in more than axis ${axis}`);
      }
    }
    const length = inputs.reduce((sum, other) => sum + other.shape[axis], 0);
    return { dtype: "float32", shape: shape.map((size, at) => (at === axis ? length : size)) };
  },
  forward(inputs, { axis }, { shape }) {
    const out = new Float64Array(sizeOf(shape));
    const row = sizeOf(shape.slice(axis));
    let first = 0;
    for (const { shape: part, data } of inputs) {
      const length = sizeOf(part.slice(axis));
      for (let at = 0; at < data.length; at += length) {
        out.set(data.subarray(at, at + length), first + (at / length) * row);
      }
      first += length;
    }
    return out;
  },
  vjp({ to, inputs, output, gradient, attributes: { axis } }) {
    if (to.typeOf(gradient).shape.length === 0) return inputs.map(() => gradient);
    const whole = to.expand(gradient, to.typeOf(output).shape);
    let start = 0;
    return inputs.map((input) => {
      const end = start + to.typeOf(input).shape[axis];
      const part = to.emit("Slice", [whole], { starts: [start], ends: [end], axes: [axis], steps: [1] });
      start = end;
      return part;
    });
  },
};

export const parts = { Slice: slice, Pad: pad, Concat: concat } as const;
