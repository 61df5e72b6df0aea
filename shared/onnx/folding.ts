/**
 * Arithmetic on what is known while a graph is read: exporters compute shapes inside of the graph, out of `Shape` and
 * `Gather`. Here it is done once, so that nothing of it is left to run.
 *
 * The batch is TRACE_BATCH while a graph is read (shared/nn/module.ts), a prime that no sensible layer has: a size that is
 * a multiple of it goes with the batch. Whatever would tie a number to it that does not is refused.
 */

import { GraphError } from "../graph/error.ts";
import { broadcast, broadcastStrides, sizeOf, walk } from "../graph/tensor.ts";
import { TRACE_BATCH } from "../nn/module.ts";
import type { Attribute } from "./model.ts";
import { type Constant, dtypeOf } from "./tensor.ts";

/** Numbers of one folded constant: masks and position tables are the largest of them. */
const MAX_FOLDED = 1_000_000;
const MAX_LIST_RANK = 16;

/** Whether a size goes with the batch. */
export const isBatch = (size: number): boolean => size !== 0 && size % TRACE_BATCH === 0;

export interface FoldArguments {
  /** Undefined where an optional one is left out. */
  readonly inputs: readonly (Constant | undefined)[];
  readonly attributes: ReadonlyMap<string, Attribute>;
}

type Fold = (args: FoldArguments) => Constant;

const structure = (message: string): GraphError => new GraphError("structure", message);

/** The input at `index`. Throws GraphError `structure` where it is left out. */
function required(inputs: FoldArguments["inputs"], index: number): Constant {
  const input = inputs[index];
  if (input === undefined) throw structure(`input ${index} is left out`);
  return input;
}

/** Throws GraphError `budget` before room is made for as many numbers as a file says. */
export function requireRoom(count: number): void {
  if (!(count <= MAX_FOLDED)) throw new GraphError("budget", `${count} numbers are over ${MAX_FOLDED}`);
}

/** Room for a constant of `shape`. Throws GraphError `budget`. */
function room(shape: readonly number[]): Float64Array {
  const size = sizeOf(shape);
  if (shape.length > MAX_LIST_RANK || !shape.every((length) => Number.isInteger(length) && length >= 0)) {
    throw new GraphError("shape", `[${shape.slice(0, MAX_LIST_RANK).join(", ")}] is no shape`);
  }
  if (size > MAX_FOLDED) throw new GraphError("budget", `[${shape.join(", ")}] is over ${MAX_FOLDED} numbers`);
  return new Float64Array(size);
}

export const scalar = (value: number): Constant => ({ dtype: "int", shape: [], data: Float64Array.of(value) });

export const integerList = (values: readonly number[]): Constant => ({
  dtype: "int",
  shape: [values.length],
  data: Float64Array.from(values),
});

export function intAttribute(attributes: FoldArguments["attributes"], name: string, fallback: number): number {
  const held = attributes.get(name);
  if (held === undefined) return fallback;
  if (held.kind !== "int") throw structure(`attribute ${name} is no integer`);
  return held.value;
}

export function intsAttribute(attributes: FoldArguments["attributes"], name: string): readonly number[] | undefined {
  const held = attributes.get(name);
  if (held === undefined) return undefined;
  if (held.kind !== "ints") throw structure(`attribute ${name} is no list of integers`);
  return held.value;
}

export function floatAttribute(attributes: FoldArguments["attributes"], name: string, fallback: number): number {
  const held = attributes.get(name);
  if (held === undefined) return fallback;
  if (held.kind !== "float") throw structure(`attribute ${name} is no number`);
  return held.value;
}

export function stringAttribute(attributes: FoldArguments["attributes"], name: string, fallback: string): string {
  const held = attributes.get(name);
  if (held === undefined) return fallback;
  if (held.kind !== "string") throw structure(`attribute ${name} is no text`);
  return held.value;
}

/** Axis from 0 of a rank. Throws GraphError `attribute`. */
export function axisOf(axis: number, rank: number): number {
  const from0 = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(from0) || from0 < 0 || from0 >= Math.max(rank, 1)) {
    throw new GraphError("attribute", `there is no axis ${axis} among ${rank}`);
  }
  return from0;
}

/** `list` with axes taken out or put in, as Squeeze and Unsqueeze do. */
export function squeezed(shape: readonly number[], axes: readonly number[] | undefined): number[] {
  if (axes === undefined) return shape.filter((size) => size !== 1);
  const gone = new Set(axes.map((axis) => axisOf(axis, shape.length)));
  for (const axis of gone) {
    if (shape[axis] !== 1) throw new GraphError("shape", `axis ${axis} of [${shape.join(", ")}] is not 1`);
  }
  return shape.filter((_, axis) => !gone.has(axis));
}

export function unsqueezed(shape: readonly number[], axes: readonly number[]): number[] {
  const rank = shape.length + axes.length;
  const added = new Set(axes.map((axis) => axisOf(axis, rank)));
  if (added.size !== axes.length) throw new GraphError("attribute", "an axis is added twice");
  const rest = shape.values();
  return Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : (rest.next().value ?? 1)));
}

/** What the arithmetic gives for integers and for floats; a size that goes with the batch may only stay one. */
type Compute = (a: number, b: number) => number;

function elementwise(compute: Compute, result: "same" | "bool" = "same"): Fold {
  return ({ inputs }) => {
    const [a, b] = [required(inputs, 0), required(inputs, 1)];
    const shape = broadcast(a.shape, b.shape);
    if (shape === null) throw new GraphError("shape", `[${a.shape}] and [${b.shape}] do not broadcast`);
    const data = room(shape);
    const isInteger = a.dtype === "int" && b.dtype === "int";
    walk(shape, broadcastStrides(a.shape, shape), (index, offset) => {
      data[index] = a.data[offset];
    });
    walk(shape, broadcastStrides(b.shape, shape), (index, offset) => {
      const value = compute(data[index], b.data[offset]);
      data[index] = isInteger ? Math.trunc(value) : value;
    });
    return { dtype: result === "bool" ? "bool" : a.dtype, shape, data };
  };
}

/** Quotients: an integer one that would be rounded must not come from the batch. */
const divide: Compute = (a, b) => {
  const quotient = a / b;
  if (isBatch(a) && !Number.isInteger(quotient))
    throw structure("a part of the batch is not a whole number of samples");
  return quotient;
};

/** Any number of inputs, two by two. */
const chain =
  (combine: Fold): Fold =>
  ({ inputs, attributes }) =>
    inputs
      .map((_, index) => required(inputs, index))
      .reduce((held, next) => combine({ inputs: [held, next], attributes }));

/** With the divisor's sign, or with `fmod` the dividend's. */
const modulo: Fold = (args) => {
  const isC = intAttribute(args.attributes, "fmod", 0) !== 0;
  return elementwise(isC ? (a, b) => a % b : (a, b) => ((a % b) + b) % b)(args);
};

const unary =
  (compute: (x: number) => number): Fold =>
  ({ inputs }) => {
    const x = required(inputs, 0);
    return { ...x, data: x.data.map(compute) };
  };

/** A constant in another shape of the same size. */
function reshape(x: Constant, shape: readonly number[]): Constant {
  if (shape.length > MAX_LIST_RANK || sizeOf(shape) !== x.data.length)
    throw new GraphError("shape", `[${x.shape}] cannot be reshaped to [${shape}]`);
  return { ...x, shape };
}

/** The shape that Reshape means by a list with 0 for a size to copy and −1 for what remains. */
export function targetShape(from: readonly number[], list: readonly number[], allowZero: boolean): number[] {
  const copied = list.map((size, axis) => (size === 0 && !allowZero ? (from[axis] ?? -2) : size));
  if (copied.some((size) => size < -1) || copied.filter((size) => size === -1).length > 1) {
    throw new GraphError("shape", `[${from.join(", ")}] cannot be reshaped to [${list.join(", ")}]`);
  }
  const known = copied.reduce((size, next) => (next === -1 ? size : size * next), 1);
  const whole = copied.map((size) => (size === -1 ? sizeOf(from) / known : size));
  if (!whole.every(Number.isInteger) || sizeOf(whole) !== sizeOf(from)) {
    throw new GraphError("shape", `[${from.join(", ")}] cannot be reshaped to [${list.join(", ")}]`);
  }
  return whole;
}

/** Copies along one axis: `pick` says which place of the input comes at each place of the output. */
function pickAlong(x: Constant, axis: number, places: readonly number[], rest: readonly number[]): Constant {
  const shape = [...x.shape.slice(0, axis), ...rest, ...x.shape.slice(axis + 1)];
  const data = room(shape);
  const inner = sizeOf(x.shape.slice(axis + 1));
  const outer = sizeOf(x.shape.slice(0, axis));
  let next = 0;
  for (let block = 0; block < outer; block++) {
    for (const place of places) {
      const from = (block * x.shape[axis] + place) * inner;
      data.set(x.data.subarray(from, from + inner), next);
      next += inner;
    }
  }
  return { dtype: x.dtype, shape, data };
}

const gather: Fold = ({ inputs, attributes }) => {
  const [x, indices] = [required(inputs, 0), required(inputs, 1)];
  if (x.shape.length === 0) throw new GraphError("shape", "Gather takes nothing out of a scalar");
  const axis = axisOf(intAttribute(attributes, "axis", 0), x.shape.length);
  const places = Array.from(indices.data, (index) => {
    const place = index < 0 ? index + x.shape[axis] : index;
    if (!Number.isInteger(place) || place < 0 || place >= x.shape[axis]) {
      throw new GraphError("shape", `index ${index} is outside of [${x.shape.join(", ")}]`);
    }
    return place;
  });
  return pickAlong(x, axis, places, indices.shape);
};

const concat: Fold = ({ inputs, attributes }) => {
  const parts = inputs.map((_, index) => required(inputs, index));
  const [first] = parts;
  if (first === undefined || first.shape.length === 0) throw new GraphError("shape", "Concat takes lists");
  const axis = axisOf(intAttribute(attributes, "axis", 0), first.shape.length);
  const fits = parts.every(
    ({ shape }) =>
      shape.length === first.shape.length && shape.every((size, at) => at === axis || size === first.shape[at]),
  );
  if (!fits) throw new GraphError("shape", "the parts of Concat do not fit together");
  const shape = first.shape.map((size, at) =>
    at === axis ? parts.reduce((sum, part) => sum + part.shape[axis], 0) : size,
  );
  const data = room(shape);
  const outer = sizeOf(shape.slice(0, axis));
  let next = 0;
  for (let block = 0; block < outer; block++) {
    for (const part of parts) {
      const length = part.data.length / outer;
      data.set(part.data.subarray(block * length, (block + 1) * length), next);
      next += length;
    }
  }
  return { dtype: first.dtype, shape, data };
};

/** Places from `start` to `end` by `step` of an axis of `size`, as NumPy counts them. */
export function slicePlaces(size: number, start: number, end: number, step: number): number[] {
  if (step === 0) throw new GraphError("attribute", "Slice has a step of 0");
  const clamp = (at: number, least: number, most: number): number =>
    Math.min(Math.max(at < 0 ? at + size : at, least), most);
  const [least, most] = step > 0 ? [0, size] : [-1, size - 1];
  const [from, to] = [clamp(start, least, most), clamp(end, least, most)];
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (length > MAX_FOLDED) throw new GraphError("budget", `a slice of ${length} is over ${MAX_FOLDED}`);
  return Array.from({ length }, (_, index) => from + index * step);
}

const slice: Fold = ({ inputs }) => {
  const [x, starts, ends] = [required(inputs, 0), required(inputs, 1), required(inputs, 2)];
  const axes = inputs[3]?.data ?? starts.data.map((_, index) => index);
  let result = x;
  for (const [index, start] of starts.data.entries()) {
    const axis = axisOf(axes[index], x.shape.length);
    const places = slicePlaces(result.shape[axis], start, ends.data[index], inputs[4]?.data[index] ?? 1);
    result = pickAlong(result, axis, places, [places.length]);
  }
  return result;
};

/** In another kind of number. Throws GraphError `structure` where one would depend on the size of the batch. */
export function castTo(x: Constant, dtype: Constant["dtype"]): Constant {
  if (dtype === "float" && x.data.some(isBatch) && x.dtype === "int") {
    throw structure("a number would depend on the size of the batch");
  }
  const convert: Record<Constant["dtype"], (value: number) => number> = {
    float: Math.fround,
    int: Math.trunc,
    bool: (value) => (value === 0 ? 0 : 1),
  };
  return { dtype, shape: x.shape, data: x.data.map(convert[dtype]) };
}

const cast: Fold = ({ inputs, attributes }) => {
  const dtype = dtypeOf(intAttribute(attributes, "to", 0));
  if (dtype === null) throw structure("Cast to an element type that is not read");
  return castTo(required(inputs, 0), dtype);
};

const where: Fold = ({ inputs }) => {
  const [condition, a, b] = [required(inputs, 0), required(inputs, 1), required(inputs, 2)];
  const pair = broadcast(a.shape, b.shape);
  const shape = pair === null ? null : broadcast(condition.shape, pair);
  if (shape === null) throw new GraphError("shape", "the inputs of Where do not broadcast");
  const [data, otherwise] = [room(shape), room(shape)];
  walk(shape, broadcastStrides(a.shape, shape), (index, offset) => {
    data[index] = a.data[offset];
  });
  walk(shape, broadcastStrides(b.shape, shape), (index, offset) => {
    otherwise[index] = b.data[offset];
  });
  walk(shape, broadcastStrides(condition.shape, shape), (index, offset) => {
    if (condition.data[offset] === 0) data[index] = otherwise[index];
  });
  return { dtype: a.dtype, shape, data };
};

const range: Fold = ({ inputs }) => {
  const [start, limit, step] = [0, 1, 2].map((index) => required(inputs, index));
  if ([start, limit, step].some(({ data }) => data.length !== 1)) throw new GraphError("shape", "Range takes scalars");
  if (isBatch(limit.data[0])) throw structure("a list would be as long as the batch");
  const length = Math.max(0, Math.ceil((limit.data[0] - start.data[0]) / step.data[0]));
  const data = room([length]).map((_, index) => start.data[0] + index * step.data[0]);
  return { dtype: start.dtype, shape: [length], data };
};

const expand: Fold = ({ inputs }) => {
  const [x, target] = [required(inputs, 0), required(inputs, 1)];
  const shape = broadcast(x.shape, Array.from(target.data));
  if (shape === null) throw new GraphError("shape", `[${x.shape}] does not broadcast to [${target.data}]`);
  const data = room(shape);
  walk(shape, broadcastStrides(x.shape, shape), (index, offset) => {
    data[index] = x.data[offset];
  });
  return { dtype: x.dtype, shape, data };
};

const transpose: Fold = ({ inputs, attributes }) => {
  const x = required(inputs, 0);
  const perm = permutationOf(intsAttribute(attributes, "perm"), x.shape.length);
  const strides = x.shape.map((_, axis) => sizeOf(x.shape.slice(axis + 1)));
  const shape = perm.map((axis) => x.shape[axis]);
  const data = room(shape);
  walk(
    shape,
    perm.map((axis) => strides[axis]),
    (index, offset) => {
      data[index] = x.data[offset];
    },
  );
  return { dtype: x.dtype, shape, data };
};

/** Transpose's axes, all of them in reverse where nothing is said. */
export function permutationOf(perm: readonly number[] | undefined, rank: number): readonly number[] {
  const axes = perm ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
  if (axes.length !== rank || axes.some((_, axis) => !axes.includes(axis))) {
    throw new GraphError("attribute", `[${axes.join(", ")}] does not permute ${rank} axes`);
  }
  return axes;
}

/** Keeps one side of a diagonal of the last two axes. */
const trilu: Fold = ({ inputs, attributes }) => {
  const x = required(inputs, 0);
  const [rows, columns] = x.shape.slice(-2);
  if (rows === undefined || columns === undefined) throw new GraphError("shape", "Trilu takes matrices");
  const shift = inputs[1]?.data[0] ?? 0;
  const isUpper = intAttribute(attributes, "upper", 1) !== 0;
  const data = x.data.map((value, index) => {
    const [row, column] = [Math.floor(index / columns) % rows, index % columns];
    return (isUpper ? column - row >= shift : column - row <= shift) ? value : 0;
  });
  return { ...x, data };
};

const constantOfShape: Fold = ({ inputs, attributes }) => {
  const value = attributes.get("value");
  const of: Constant =
    value?.kind === "tensor" ? value.value : { dtype: "float", shape: [1], data: new Float64Array(1) };
  const shape = Array.from(required(inputs, 0).data);
  return { dtype: of.dtype, shape, data: room(shape).fill(of.data[0] ?? 0) };
};

/** A list input, or undefined where it is left out. */
const listAt = (inputs: FoldArguments["inputs"], index: number): readonly number[] | undefined =>
  inputs[index] === undefined ? undefined : Array.from(inputs[index].data);

/** By ONNX's op names: those whose inputs are all known. https://onnx.ai/onnx/operators/ */
export const FOLDS: Readonly<Record<string, Fold>> = {
  Add: elementwise((a, b) => a + b),
  Sub: elementwise((a, b) => a - b),
  Mul: elementwise((a, b) => a * b),
  Div: elementwise(divide),
  Mod: modulo,
  Pow: elementwise((a, b) => a ** b),
  Max: chain(elementwise(Math.max)),
  Min: chain(elementwise(Math.min)),
  Equal: elementwise((a, b) => (a === b ? 1 : 0), "bool"),
  Less: elementwise((a, b) => (a < b ? 1 : 0), "bool"),
  LessOrEqual: elementwise((a, b) => (a <= b ? 1 : 0), "bool"),
  Greater: elementwise((a, b) => (a > b ? 1 : 0), "bool"),
  GreaterOrEqual: elementwise((a, b) => (a >= b ? 1 : 0), "bool"),
  And: elementwise((a, b) => (a !== 0 && b !== 0 ? 1 : 0), "bool"),
  Or: elementwise((a, b) => (a !== 0 || b !== 0 ? 1 : 0), "bool"),
  Not: unary((x) => (x === 0 ? 1 : 0)),
  Neg: unary((x) => -x),
  Abs: unary(Math.abs),
  Sqrt: unary(Math.sqrt),
  Exp: unary(Math.exp),
  Log: unary(Math.log),
  Sin: unary(Math.sin),
  Cos: unary(Math.cos),
  Floor: unary(Math.floor),
  Ceil: unary(Math.ceil),
  Reciprocal: unary((x) => 1 / x),
  Identity: ({ inputs }) => required(inputs, 0),
  Cast: cast,
  Concat: concat,
  ConstantOfShape: constantOfShape,
  Expand: expand,
  Gather: gather,
  Range: range,
  Reshape: ({ inputs, attributes }) => {
    const x = required(inputs, 0);
    const isExact = intAttribute(attributes, "allowzero", 0) !== 0;
    return reshape(x, targetShape(x.shape, Array.from(required(inputs, 1).data), isExact));
  },
  Size: ({ inputs }) => scalar(required(inputs, 0).data.length),
  Slice: slice,
  Squeeze: ({ inputs }) => {
    const x = required(inputs, 0);
    return reshape(x, squeezed(x.shape, listAt(inputs, 1)));
  },
  Transpose: transpose,
  Trilu: trilu,
  Unsqueeze: ({ inputs }) => {
    const x = required(inputs, 0);
    return reshape(x, unsqueezed(x.shape, Array.from(required(inputs, 1).data)));
  },
  Where: where,
};
