/**
 * What a graph is lowered to before kernels are formed: values of a few kinds, of which only products and reductions need a
 * kernel of their own. All others are functions of coordinates, so that they can be computed wherever they are needed.
 *
 * Equal values are made once. All numbers are f32; class indices and tokens too, exact up to 2²⁴.
 */

import { broadcast, sameShape, sizeOf } from "../../../shared/graph/tensor.ts";
import { type Convolution, outputSizes } from "./convolution.ts";
import type { Coordinate } from "./coordinates.ts";
import { reshapeCoordinates, ZERO } from "./coordinates.ts";
import { type Product, partsOf, type Tuning, tuningOf } from "./tuning.ts";

export type Shape = readonly number[];

/** How a reduction combines; `min` takes indices. */
export type Fold = "sum" | "max" | "min";

interface Base {
  /** Position in the list of values: operands have smaller ones. */
  readonly id: number;
  readonly shape: Shape;
}

/** A graph input or a parameter; `offset` in words. */
export interface StoredValue extends Base {
  readonly kind: "stored";
  readonly buffer: "input" | "weights";
  readonly offset: number;
  readonly integer: boolean;
}

/** Element by element with NumPy broadcasting; `text` gives WGSL over operands of type T (f32 or vec4f). */
export interface MapValue extends Base {
  readonly kind: "map";
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly text: (...operands: string[]) => string;
}

/** The same elements under other coordinates. */
export interface ViewValue extends Base {
  readonly kind: "view";
  readonly input: Value;
  readonly remap: (coordinates: readonly Coordinate[]) => readonly Coordinate[];
  /** The other way round, where every element of the input is shown once. */
  readonly forward?: (coordinates: readonly Coordinate[]) => readonly Coordinate[];
  /** Whether elements keep their row-major order: then it needs no storage of its own. */
  readonly linear: boolean;
  /** Whether it is the transpose of each matrix of a stack, which products can read as it is. */
  readonly transposed: boolean;
}

/** A place along an axis of the input, or outside of it. */
export interface Position {
  /** WGSL of type i32: `divisor` times the coordinate. What it does not divide is outside, too. */
  readonly text: string;
  readonly divisor: number;
  /** Whether it is never outside. */
  readonly inside: boolean;
  /** Where it is a coordinate moved by a constant: both of them. */
  readonly moved?: { readonly at: Coordinate; readonly by: number };
}

/** Elements under coordinates that may be moved; what lies outside of the input reads as `outside`. */
export interface GatherValue extends Base {
  readonly kind: "gather";
  readonly input: Value;
  readonly positions: (coordinates: readonly Coordinate[]) => readonly (Coordinate | Position)[];
  /** A float32 literal. */
  readonly outside: string;
}

/** The coordinate along one axis, as a number. */
export interface CoordinateValue extends Base {
  readonly kind: "coordinate";
  readonly axis: number;
}

/** Dropout mask; `key` is the word of the input buffer where the layer's key is. */
export interface MaskValue extends Base {
  readonly kind: "mask";
  readonly key: number;
  readonly threshold: number;
  readonly scale: number;
}

/** A′·B′: [..., rows, columns]; an operand has the same leading axes, or is one matrix that goes with all of them. */
export interface ProductValue extends Base {
  readonly kind: "product";
  readonly a: Value;
  readonly b: Value;
  readonly product: Product;
  readonly tuning: Tuning;
}

/**
 * A convolution or its adjoint: x [N, C, …] and w [M, C/group, …kernel] → [N, M, …]. With several parts the sum over channels is
 * cut into them: [parts, N, M, …]. Swapped, M comes before N.
 */
export interface ConvolutionValue extends Base {
  readonly kind: "convolution";
  readonly input: Value;
  readonly weights: Value;
  readonly form: Convolution;
  readonly swapped: boolean;
}

/** Folds along `axes`, which stay as axes of size 1. */
export interface ReduceValue extends Base {
  readonly kind: "reduce";
  readonly input: Value;
  readonly axes: readonly number[];
  readonly fold: Fold;
}

/** Rows of a table [depth, …rest] in memory, by indices [...]: [..., …rest]; zeros where there is no such row. */
export interface RowsValue extends Base {
  readonly kind: "rows";
  readonly table: Value;
  readonly indices: Value;
}

export type Value =
  | StoredValue
  | MapValue
  | ViewValue
  | GatherValue
  | RowsValue
  | CoordinateValue
  | MaskValue
  | ProductValue
  | ConvolutionValue
  | ReduceValue;

/** `Omit` over each member of the union. */
type Fields<V extends Value> = V extends Value ? Omit<V, "id"> : never;

/** Operands of a value, in order. */
export function operandsOf(value: Value): readonly Value[] {
  switch (value.kind) {
    case "map":
      return value.inputs;
    case "view":
    case "gather":
    case "reduce":
      return [value.input];
    case "product":
      return [value.a, value.b];
    case "convolution":
      return [value.input, value.weights];
    case "rows":
      return [value.table, value.indices];
    case "stored":
    case "coordinate":
    case "mask":
      return [];
    default:
      return value satisfies never;
  }
}

/** What ops that multiply are called as maps. */
const SCALING = "Mul";

/** A value as another one times a single number. */
function scaled(value: Value): { readonly of: Value; readonly by: Value } | null {
  if (value.kind !== "map" || value.name !== SCALING) return null;
  const [x, by] = value.inputs;
  return sizeOf(by.shape) === 1 && sameShape(x.shape, value.shape) ? { of: x, by } : null;
}

export class Lowering {
  readonly values: Value[] = [];
  /**
   * Values that must be computed once and read from memory, because two computations need not give the same bits, or
   * because each element is read many times.
   */
  readonly exact = new Set<Value>();
  readonly #held = new Map<string, Value>();
  /** Makes a value with its first two axes exchanged where that costs nothing. */
  readonly #swaps = new Map<Value, () => Value>();
  readonly tuning: Tuning;
  /** Word of the input buffer where the key of a dropout layer is. */
  readonly keyOf: (layer: number) => number;

  constructor(tuning: Tuning, keyOf: (layer: number) => number) {
    this.tuning = tuning;
    this.keyOf = keyOf;
  }

  #make(key: string, fields: Fields<Value>): Value {
    const held = this.#held.get(key);
    if (held !== undefined) return held;
    const value = { ...fields, id: this.values.length } as Value;
    this.values.push(value);
    this.#held.set(key, value);
    return value;
  }

  stored(buffer: StoredValue["buffer"], offset: number, shape: Shape, integer = false): Value {
    return this.#make(`${buffer} ${offset} ${shape}`, { kind: "stored", buffer, offset, shape, integer });
  }

  /** @param name says which function `text` is */
  map(name: string, shape: Shape, inputs: readonly Value[], text: MapValue["text"]): Value {
    return this.#make(`${name} ${shape} ${inputs.map(({ id }) => id)}`, { kind: "map", name, shape, inputs, text });
  }

  coordinate(shape: Shape, axis: number): Value {
    return this.#make(`coordinate ${shape} ${axis}`, { kind: "coordinate", shape, axis });
  }

  mask(shape: Shape, layer: number, threshold: number, scale: number): Value {
    const key = this.keyOf(layer);
    return this.#make(`mask ${shape} ${key} ${threshold}`, { kind: "mask", shape, key, threshold, scale });
  }

  reshape(input: Value, shape: Shape): Value {
    if (sameShape(input.shape, shape)) return input;
    const remap = (coordinates: readonly Coordinate[]) => reshapeCoordinates(coordinates, shape, input.shape);
    const forward = (coordinates: readonly Coordinate[]) => reshapeCoordinates(coordinates, input.shape, shape);
    const fields = { kind: "view", shape, input, remap, forward, linear: true, transposed: false } as const;
    return this.#make(`reshape ${shape} ${input.id}`, fields);
  }

  transpose(input: Value, perm: readonly number[]): Value {
    const shape = perm.map((axis) => input.shape[axis]);
    const remap = (coordinates: readonly Coordinate[]) => input.shape.map((_, axis) => coordinates[perm.indexOf(axis)]);
    const rank = perm.length;
    const swap = perm.every((axis, at) => axis === (at < 2 ? 1 - at : at)) ? this.#swaps.get(input) : undefined;
    if (swap !== undefined) return swap();
    const transposed =
      rank >= 2 &&
      perm[rank - 1] === rank - 2 &&
      perm[rank - 2] === rank - 1 &&
      perm.slice(0, -2).every((from, axis) => from === axis);
    return this.#make(`transpose ${perm} ${input.id}`, {
      kind: "view",
      shape,
      input,
      remap,
      forward: (coordinates) => perm.map((axis) => coordinates[axis]),
      linear: false,
      transposed,
    });
  }

  expand(input: Value, shape: Shape): Value {
    if (sizeOf(input.shape) === sizeOf(shape)) return this.reshape(input, shape);
    const missing = shape.length - input.shape.length;
    const remap = (coordinates: readonly Coordinate[]) =>
      input.shape.map((size, axis) => (size === 1 ? ZERO : coordinates[axis + missing]));
    const fields = { kind: "view", shape, input, remap, linear: false, transposed: false } as const;
    return this.#make(`expand ${shape} ${input.id}`, fields);
  }

  /** @param name says which function `positions` is */
  gather(
    name: string,
    input: Value,
    shape: Shape,
    positions: GatherValue["positions"],
    outside: GatherValue["outside"] = "0f",
  ): Value {
    const fields = { kind: "gather", shape, input, positions, outside } as const;
    return this.#make(`gather ${name} ${shape} ${outside} ${input.id}`, fields);
  }

  product(a: Value, b: Value, transA: boolean, transB: boolean): Value {
    if (a.kind === "view" && a.transposed) return this.product(a.input, b, !transA, transB);
    if (b.kind === "view" && b.transposed) return this.product(a, b.input, transA, !transB);
    // Scaled operands need no memory of their own if the product is scaled instead.
    const [scaledA, scaledB] = [scaled(a), scaled(b)];
    if (scaledA !== null) return this.#scale(this.product(scaledA.of, b, transA, transB), scaledA.by);
    if (scaledB !== null) return this.#scale(this.product(a, scaledB.of, transA, transB), scaledB.by);
    const [aRank, bRank] = [a.shape.length, b.shape.length];
    const lead = broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2)) ?? [];
    const [aStack, bStack, stack] = [a.shape.slice(0, -2), b.shape.slice(0, -2), lead].map(sizeOf);
    if (aStack !== stack && aStack !== 1) return this.product(this.#stacked(a, lead), b, transA, transB);
    if (bStack !== stack && bStack !== 1) return this.product(a, this.#stacked(b, lead), transA, transB);
    const shape = [...lead, a.shape[aRank - (transA ? 1 : 2)], b.shape[bRank - (transB ? 2 : 1)]];
    // Rows of many matrices that meet the same B are rows of one.
    if (stack > 1 && bStack === 1 && !transA) {
      const rows = this.reshape(a, [stack * a.shape[aRank - 2], a.shape[aRank - 1]]);
      return this.reshape(this.product(rows, this.reshape(b, b.shape.slice(-2)), false, transB), shape);
    }
    const [rows, columns] = shape.slice(-2);
    const inner = a.shape[aRank - (transA ? 2 : 1)];
    const product = { rows, columns, inner, transA, transB, batch: stack };
    const tuning = tuningOf(this.tuning, product);
    const parts = partsOf(product, tuning);
    if (parts > 1) {
      const [aParts, bParts] = [a, b].map((operand) => {
        return this.reshape(operand, [parts, inner / parts, operand.shape[operand.shape.length - 1]]);
      });
      const whole = [parts, rows, columns];
      const cut = { ...product, inner: inner / parts, batch: parts };
      return this.reshape(this.reduce(this.#product(aParts, bParts, whole, cut, tuning), [0], "sum"), shape);
    }
    return this.#product(a, b, shape, product, tuning);
  }

  #scale(product: Value, factor: Value): Value {
    return this.map(SCALING, product.shape, [product, this.reshape(factor, [])], (x, by) => `${x} * ${by}`);
  }

  #product(a: Value, b: Value, shape: Shape, product: Product, tuning: Tuning): Value {
    const key = `product ${a.id} ${b.id} ${product.transA} ${product.transB}`;
    return this.#make(key, { kind: "product", shape, a, b, product, tuning });
  }

  /** [N, M, …] */
  convolution(input: Value, weights: Value, form: Convolution): Value {
    const make = (swapped: boolean): Value => {
      const { samples, outputs, parts } = form;
      const shape = [...(swapped ? [outputs, samples] : [samples, outputs]), ...outputSizes(form)];
      const whole = parts > 1 ? [parts, ...shape] : shape;
      const key = `convolution ${JSON.stringify(form)} ${swapped} ${input.id} ${weights.id}`;
      const value = this.#make(key, { kind: "convolution", shape: whole, input, weights, form, swapped });
      return parts > 1 ? this.reshape(this.reduce(value, [0], "sum"), shape) : value;
    };
    const value = make(false);
    this.#swaps.set(value, () => make(true));
    return value;
  }

  /** A stack of matrices repeated along further leading axes. */
  #stacked(matrices: Value, lead: Shape): Value {
    return this.expand(matrices, [...lead, ...matrices.shape.slice(-2)]);
  }

  rows(table: Value, indices: Value): Value {
    const shape = [...indices.shape, ...table.shape.slice(1)];
    return this.#make(`rows ${table.id} ${indices.id}`, { kind: "rows", shape, table, indices });
  }

  /** The reduced axes stay as axes of size 1. */
  reduce(input: Value, axes: readonly number[], fold: Fold): Value {
    const shape = input.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
    if (sameShape(shape, input.shape)) return input;
    return this.#make(`${fold} ${axes} ${input.id}`, { kind: "reduce", shape, input, axes, fold });
  }
}
