/**
 * Ops that take tensors apart and put them together. Whatever is taken along one axis by known places is one slice, or
 * slices put together where the places do not rise evenly, or a product with ones and zeros where there would be too many.
 */

import { GraphError } from "../../graph/error.ts";
import type { ValueId } from "../../graph/ir.ts";
import { axisOf, intAttribute, isBatch, requireRoom, slicePlaces, stringAttribute } from "../folding.ts";
import {
  type Operands,
  type Operation,
  requireWithinSample,
  tableOf,
  unsupported,
  upTo,
  writing,
} from "./definition.ts";

/** Inputs of one node of the IR. */
const MOST_PARTS = 8;
/** Slices that are put together before it is a product. */
const MOST_RUNS = 32;

/** Puts any number of values together along an axis. */
function joined(operands: Operands, values: readonly ValueId[], axis: number): ValueId {
  const { to } = operands;
  if (values.length === 1) return values[0];
  const groups: ValueId[] = [];
  for (let at = 0; at < values.length; at += MOST_PARTS) {
    const group = values.slice(at, at + MOST_PARTS);
    groups.push(group.length === 1 ? group[0] : to.emit("Concat", group, { axis }));
  }
  return groups.length === values.length ? groups[0] : joined(operands, groups, axis);
}

interface Run {
  readonly start: number;
  step: number;
  count: number;
}

/** Places as runs that rise evenly. */
function runsOf(places: readonly number[]): readonly Run[] {
  const runs: Run[] = [];
  for (const place of places) {
    const last = runs.at(-1);
    const step = last === undefined ? 0 : place - (last.start + (last.count - 1) * last.step);
    if (last === undefined || step < 1 || (last.count > 1 && step !== last.step)) {
      runs.push({ start: place, step: 1, count: 1 });
    } else {
      last.step = step;
      last.count += 1;
    }
  }
  return runs;
}

/** What a value has at places along an axis. Throws GraphError. */
export function picked(operands: Operands, x: ValueId, axis: number, places: readonly number[]): ValueId {
  const { to } = operands;
  const shape = to.shapeOf(x);
  const size = shape[axis];
  if (places.length === size && places.every((place, at) => place === at)) return x;
  requireWithinSample(shape, [axis], "takes a part");
  if (places.length === 0) throw unsupported("nothing is left of it");
  const runs = runsOf(places);
  if (runs.length <= MOST_RUNS) {
    const slices = runs.map(({ start, step, count }) =>
      count === size
        ? x
        : to.emit("Slice", [x], {
            starts: [start],
            ends: [start + (count - 1) * step + 1],
            axes: [axis],
            steps: [step],
          }),
    );
    return joined(operands, slices, axis);
  }
  requireRoom(size * places.length);
  const chosen = new Float64Array(size * places.length);
  for (const [column, place] of places.entries()) chosen[place * places.length + column] = 1;
  const last = shape.length - 1;
  const perm = shape.map((_, at) => (at === axis ? last : at === last ? axis : at));
  const turn = (id: ValueId): ValueId => (axis === last ? id : to.emit("Transpose", [id], { perm }));
  const row = turn(x);
  const rows = last === 0 ? operands.reshape(row, [1, size]) : row;
  const product = to.emit("MatMul", [rows, operands.table(tableOf([size, places.length], chosen))], {});
  return last === 0 ? operands.reshape(product, [places.length]) : turn(product);
}

const slice: Operation = (operands) => {
  const { to, known, raw, value, exported } = operands;
  const [starts, ends, axes, steps] = [1, 2, 3, 4].map((index) => known(index)?.data);
  if (starts === undefined || ends === undefined) throw new GraphError("structure", "its starts and ends are missing");
  const shape = to.shapeOf(raw(0));
  return Array.from(starts).reduce((x, start, index) => {
    const axis = axisOf(axes?.[index] ?? index, shape.length);
    const [end, step] = [ends[index], steps?.[index] ?? 1];
    const size = shape[axis];
    if (start === 0 && step === 1 && (end >= size || (isBatch(size) && end === exported))) return x;
    requireWithinSample(shape, [axis], "takes a part");
    return picked(operands, x === raw(0) ? value(0) : x, axis, slicePlaces(size, start, end, step));
  }, raw(0));
};

/** Sizes as said, or equal ones of which the last may be less. */
function splitSizes({ attributes, known, outputs }: Operands, size: number): readonly number[] {
  const listed = known(1);
  if (listed !== undefined) return Array.from(listed.data);
  const count = intAttribute(attributes, "num_outputs", outputs);
  const each = Math.ceil(size / count);
  return upTo(count).map((part) => Math.min(each, size - part * each));
}

const split: Operation = (operands) => {
  const { to, attributes, value } = operands;
  const x = value(0);
  const shape = to.shapeOf(x);
  const axis = axisOf(intAttribute(attributes, "axis", 0), shape.length);
  const sizes = splitSizes(operands, shape[axis]);
  if (sizes.reduce((sum, size) => sum + size, 0) !== shape[axis]) {
    throw new GraphError("shape", `parts of [${sizes.join(", ")}] are not the ${shape[axis]} that there are`);
  }
  let start = 0;
  return sizes.map((size) => {
    const places = upTo(size).map((at) => start + at);
    start += size;
    return picked(operands, x, axis, places);
  });
};

const concat: Operation = (operands) => {
  const { to, attributes, count, value } = operands;
  const values = Array.from({ length: count }, (_, index) => value(index));
  const axis = axisOf(intAttribute(attributes, "axis", 0), to.shapeOf(values[0]).length);
  for (const id of values) requireWithinSample(to.shapeOf(id), values.length === 1 ? [] : [axis], "puts together");
  return joined(operands, values, axis);
};

/** Rows by computed indices, or whatever lies at known ones. */
const gather: Operation = (operands) => {
  const { to, attributes, isComputed, known, raw, value, reshape } = operands;
  const x = value(0);
  const shape = to.shapeOf(x);
  if (shape.length === 0) throw new GraphError("shape", "Gather takes nothing out of a number");
  const axis = axisOf(intAttribute(attributes, "axis", 0), shape.length);
  if (isComputed(1)) {
    requireWithinSample(shape, upTo(shape.length), "gathers by indices of each sample");
    const indices = to.dtypeOf(raw(1)) === "int32" ? raw(1) : to.emit("Cast", [raw(1)], { to: "int32" });
    const front = [axis, ...upTo(shape.length).filter((at) => at !== axis)];
    const rows = to.emit("Gather", [axis === 0 ? x : to.emit("Transpose", [x], { perm: front }), indices], {});
    if (axis === 0) return rows;
    // [indices…, before…, after…] → [before…, indices…, after…]
    const rank = to.shapeOf(indices).length;
    const before = upTo(axis).map((at) => rank + at);
    const after = upTo(shape.length - 1 - axis).map((at) => rank + axis + at);
    return to.emit("Transpose", [rows], { perm: [...before, ...upTo(rank), ...after] });
  }
  const indices = known(1);
  if (indices === undefined) throw new GraphError("structure", "its indices are missing");
  const places = Array.from(indices.data, (index) => (index < 0 ? index + shape[axis] : index));
  if (!places.every((place) => Number.isInteger(place) && place >= 0 && place < shape[axis])) {
    throw new GraphError(
      "shape",
      `indices [${indices.data.slice(0, MOST_PARTS).join(", ")}] are outside of axis ${axis}`,
    );
  }
  requireWithinSample(shape, [axis], "takes a part");
  const taken = picked(operands, x, axis, places);
  return reshape(taken, [...shape.slice(0, axis), ...indices.shape, ...shape.slice(axis + 1)]);
};

/** Places before and after an axis that padding repeats; −1 for what is filled. */
const EDGES: Readonly<Record<string, (at: number, size: number) => number>> = {
  constant: (at, size) => (at < 0 || at >= size ? -1 : at),
  edge: (at, size) => Math.min(Math.max(at, 0), size - 1),
  reflect(at, size) {
    const period = Math.max(1, 2 * (size - 1));
    const folded = ((at % period) + period) % period;
    return folded < size ? folded : period - folded;
  },
  wrap: (at, size) => ((at % size) + size) % size,
};

/** Zeros around, and what is said instead of them: it is added where no element was. */
function filled({ to }: Operands, x: ValueId, pads: readonly number[], fill: number): ValueId {
  const padded = to.emit("Pad", [x], { pads });
  if (fill === 0) return padded;
  const { add, mul, not, number } = writing(to);
  const rank = pads.length / 2;
  const inner = to.shapeOf(x).map((size, axis) => (pads[axis] === 0 && pads[axis + rank] === 0 ? 1 : size));
  const ones = to.emit("Expand", [number(1)], { shape: inner });
  return add(padded, mul(not(to.emit("Pad", [ones], { pads })), number(fill)));
}

const pad: Operation = (operands) => {
  const { to, attributes, known, value } = operands;
  const mode = stringAttribute(attributes, "mode", "constant");
  if (!Object.hasOwn(EDGES, mode)) throw unsupported("its mode is not supported");
  const x = value(0);
  const shape = to.shapeOf(x);
  const listed = Array.from(known(1)?.data ?? []);
  const axes = Array.from(known(3)?.data ?? upTo(shape.length), (axis) => axisOf(axis, shape.length));
  if (listed.length !== 2 * axes.length) throw new GraphError("shape", `${listed.length} pads for ${axes.length} axes`);
  const around = shape.map((_, axis) => {
    const at = axes.indexOf(axis);
    return at < 0 ? ([0, 0] as const) : ([listed[at], listed[at + axes.length]] as const);
  });
  requireWithinSample(
    shape,
    upTo(shape.length).filter((axis) => around[axis].some((size) => size !== 0)),
    "pads",
  );
  const fillable = mode === "constant";
  // Negative padding takes away, and every mode but one repeats what is there.
  const taken = around.reduce((id, [begin, end], axis) => {
    if (begin === 0 && end === 0) return id;
    const [low, high] = fillable ? [Math.min(0, begin), Math.min(0, end)] : [begin, end];
    const length = Math.max(0, shape[axis] + low + high);
    const places = upTo(length).map((at) => EDGES[mode](at - low, shape[axis]));
    return picked(operands, id, axis, places);
  }, x);
  if (!fillable) return taken;
  const pads = [...around.map(([begin]) => Math.max(0, begin)), ...around.map(([, end]) => Math.max(0, end))];
  return pads.every((size) => size === 0) ? taken : filled(operands, taken, pads, known(2)?.data[0] ?? 0);
};

export const parts: Readonly<Record<string, Operation>> = {
  Concat: concat,
  Gather: gather,
  Pad: pad,
  Slice: slice,
  Split: split,
};
