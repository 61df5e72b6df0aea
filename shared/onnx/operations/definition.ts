/** What an entry of the importer's table is given, and the short names that formulas are written with. */

import { GraphError } from "../../graph/error.ts";
import type { ValueId } from "../../graph/ir.ts";
import type { GraphWriter } from "../../nn/module.ts";
import { isBatch, requireRoom } from "../folding.ts";
import type { Attribute } from "../model.ts";
import type { Constant } from "../tensor.ts";

/** A matrix as it is held: a parameter that was renamed may lie transposed, as PyTorch keeps it. */
export interface Matrix {
  readonly id: ValueId;
  readonly isTransposed: boolean;
}

/** What a node's entry is given. */
export interface Operands {
  readonly to: GraphWriter;
  readonly attributes: ReadonlyMap<string, Attribute>;
  /** How many inputs there are, those that are left out included. */
  readonly count: number;
  /** How many outputs there are. */
  readonly outputs: number;
  /** The fixed batch of the export, null where it was left open. */
  readonly exported: number | null;
  has(index: number): boolean;
  /** Element type as the file has it: booleans are 0 and 1 here, and whole numbers that are computed are float32. */
  typeOf(index: number): Constant["dtype"];
  /**
   * An input as a float32 value of the graph: parameters and constants are brought in, integers are cast. Throws GraphError
   * where it is left out.
   */
  value(index: number): ValueId;
  /** An input as it is, float32 or int32. */
  raw(index: number): ValueId;
  /** An input as one that is not trained. */
  buffer(index: number): ValueId;
  matrix(index: number): Matrix;
  /** An input that is known, weights included, or undefined where it is left out. Throws GraphError where it is computed. */
  known(index: number): Constant | undefined;
  /** Whether an input is there and no weight or constant. */
  isComputed(index: number): boolean;
  /** A table of numbers that is not trained. */
  table(constant: Constant): ValueId;
  /** In another shape of sizes that are known here, with the batch bound; −1 for what remains. */
  reshape(value: ValueId, shape: readonly number[]): ValueId;
  /** In the shape that the file's `list` means, as Reshape has it: an export with a fixed batch has that written there. */
  reshapeAsSaid(value: ValueId, list: readonly number[], allowZero: boolean): ValueId;
  expand(value: ValueId, shape: readonly number[]): ValueId;
}

/** Adds what computes a node's outputs: the first, or the first few. */
export type Operation = (operands: Operands) => ValueId | readonly ValueId[];

export const unsupported = (message: string): GraphError => new GraphError("unknown-op", message);

/** Numbers that are not computed. */
export const tableOf = (shape: readonly number[], data: ArrayLike<number>): Constant => ({
  dtype: "float",
  shape,
  data: Float64Array.from(data),
});

/** 0 to `size` − 1. Throws GraphError `budget`. */
export function upTo(size: number): number[] {
  requireRoom(size);
  return Array.from({ length: size }, (_, at) => at);
}

/** Throws GraphError `shape` where one of the axes goes with the batch: `doing` says what a sample would be mixed by. */
export function requireWithinSample(shape: readonly number[], axes: readonly number[], doing: string): void {
  if (axes.some((axis) => isBatch(shape[axis]))) {
    throw new GraphError("shape", `it ${doing} over the batch: a sample's output would depend on the others`);
  }
}

/** Short names for what formulas are made of. */
export function writing(to: GraphWriter) {
  const add = (a: ValueId, b: ValueId): ValueId => to.emit("Add", [a, b], {});
  const mul = (a: ValueId, b: ValueId): ValueId => to.emit("Mul", [a, b], {});
  const sub = (a: ValueId, b: ValueId): ValueId => to.emit("Sub", [a, b], {});
  const div = (a: ValueId, b: ValueId): ValueId => to.emit("Div", [a, b], {});
  const max = (a: ValueId, b: ValueId): ValueId => to.emit("Max", [a, b], {});
  const neg = (x: ValueId): ValueId => to.emit("Neg", [x], {});
  const exp = (x: ValueId): ValueId => to.emit("Exp", [x], {});
  const log = (x: ValueId): ValueId => to.emit("Log", [x], {});
  const abs = (x: ValueId): ValueId => to.emit("Abs", [x], {});
  const sqrt = (x: ValueId): ValueId => to.emit("Sqrt", [x], {});
  const sign = (x: ValueId): ValueId => to.emit("Sign", [x], {});
  const relu = (x: ValueId): ValueId => to.emit("Relu", [x], {});
  const number = (value: number): ValueId => to.constant(value);
  const min = (a: ValueId, b: ValueId): ValueId => neg(max(neg(a), neg(b)));
  /** 1 where a > b, else 0. */
  const greater = (a: ValueId, b: ValueId): ValueId => sign(relu(sub(a, b)));
  /** 1 where x is 0, which is false, else 0. */
  const not = (x: ValueId): ValueId => sub(number(1), x);
  const sum = (x: ValueId, axes: readonly number[], keepdims = true): ValueId =>
    axes.length === 0 ? x : to.emit("ReduceSum", [x], { axes, keepdims });
  const mean = (x: ValueId, axes: readonly number[], keepdims = true): ValueId => {
    const count = axes.reduce((size, axis) => size * to.shapeOf(x)[axis], 1);
    return mul(sum(x, axes, keepdims), number(1 / count));
  };
  return { add, mul, sub, div, max, min, neg, exp, log, abs, sqrt, sign, relu, greater, not, number, sum, mean };
}

export type Writing = ReturnType<typeof writing>;
