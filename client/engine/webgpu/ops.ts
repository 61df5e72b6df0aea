/**
 * How each op of the graph is lowered. Everything is composed of maps, views, products and reductions, so a new op is one
 * entry here and needs no kernel. Attributes enter the generated code as numbers only (invariant I10).
 */

import type { OpAttributes, OpName } from "../../../shared/graph/ir.ts";
import { sizeOf, type TensorType } from "../../../shared/graph/tensor.ts";
import { dropoutScale, dropoutThreshold } from "../../../shared/random/dropout.ts";
import { pad, slice } from "./parts.ts";
import type { Lowering, Shape, Value } from "./values.ts";
import { averagePool, conv, convTranspose, maxPool, maxPoolGrad } from "./windows.ts";

export type Lower<Op extends OpName> = (
  to: Lowering,
  inputs: readonly Value[],
  attributes: OpAttributes[Op],
  type: TensorType,
) => Value;

const SMALLEST_NORMAL = 2 ** -126;

/** Elements of a matrix of zeros and ones that is worth its memory, 16 MB. */
const LARGEST_SELECTION = 2 ** 22;

/** A float32 literal; what is too small for a normal number is 0. */
export function literal(value: number): string {
  const rounded = Math.fround(value);
  if (!Number.isFinite(rounded)) throw new RangeError(`${value} is no finite float32`);
  return `T(${Math.abs(rounded) < SMALLEST_NORMAL ? 0 : rounded}f)`;
}

/** An op of one or two operands that is one expression; `name` tells equal expressions apart from others. */
const expression =
  (name: string, text: (...operands: string[]) => string) =>
  (to: Lowering, inputs: readonly Value[], _: unknown, { shape }: TensorType): Value =>
    to.map(name, shape, inputs, text);

const add = (a: string, b: string): string => `${a} + ${b}`;

/** exp(x − largest of its row), and the row's sum of it. */
function shifted(to: Lowering, x: Value, axis: number): { largest: Value; exp: Value; sum: Value } {
  const largest = to.reduce(x, [axis], "max");
  const exp = to.map("exp of difference", x.shape, [x, largest], (value, most) => `exp(${value} - ${most})`);
  return { largest, exp, sum: to.reduce(exp, [axis], "sum") };
}

const fold =
  (kind: "sum" | "max"): Lower<"ReduceSum" | "ReduceMax"> =>
  (to, [x], { axes }, { shape }) =>
    to.reshape(to.reduce(x, axes, kind), shape);

const squeezed = (shape: Shape): Shape => [...shape, 1];

/** The value at a coordinate among those from `first` on, by halving: nesting stays far below what shader compilers bear. */
function chosen(values: readonly number[], at: string, first = 0): string {
  if (values.length === 1) return literal(values[0]);
  const half = Math.ceil(values.length / 2);
  const [low, high] = [chosen(values.slice(0, half), at, first), chosen(values.slice(half), at, first + half)];
  return low === high ? low : `select(${low}, ${high}, ${at} >= ${literal(first + half)})`;
}

export const WGSL_OPS: { readonly [Op in OpName]: Lower<Op> } = {
  Constant: (to, _, { value }) => to.map(`constant ${value}`, [], [], () => literal(value)),
  // Read from memory: to choose again for each use would be slow.
  ConstantVector(to, _, { values }, { shape }) {
    const vector = to.map(`constants ${values}`, shape, [to.coordinate(shape, 0)], (at) => chosen(values, at));
    to.exact.add(vector);
    return vector;
  },
  DropoutMask: (to, _, { probability, layer }, { shape }) =>
    to.mask(shape, layer, dropoutThreshold(probability), dropoutScale(probability)),
  Gemm(to, [a, b, c], { transA, transB }, { shape }) {
    const product = to.product(a, b, transA, transB);
    return c === undefined ? product : to.map("Add", shape, [product, c], add);
  },
  Add: expression("Add", add),
  Sub: expression("Sub", (a, b) => `${a} - ${b}`),
  Mul: expression("Mul", (a, b) => `${a} * ${b}`),
  Div: expression("Div", (a, b) => `${a} / ${b}`),
  Max: expression("Max", (a, b) => `largest(${a}, ${b})`),
  Neg: expression("Neg", (x) => `-${x}`),
  Abs: expression("Abs", (x) => `abs(${x})`),
  Sign: expression("Sign", (x) => `keep_nan(${x}, sign(${x}))`),
  Exp: expression("Exp", (x) => `exp(${x})`),
  Log: expression("Log", (x) => `log(${x})`),
  Erf: expression("Erf", (x) => `erf(${x})`),
  Tanh: expression("Tanh", (x) => `hyperbolic_tangent(${x})`),
  Sigmoid: expression("Sigmoid", (x) => `sigmoid(${x})`),
  Softplus: expression("Softplus", (x) => `softplus(${x})`),
  Relu: expression("Relu", (x) => `relu(${x})`),
  LeakyRelu: (to, [x], { alpha }) =>
    to.map(
      `LeakyRelu ${alpha}`,
      x.shape,
      [x],
      (value) => `select(${literal(alpha)} * ${value}, ${value}, ${value} > T(0))`,
    ),
  Softmax(to, [x], { axis }) {
    const { exp, sum } = shifted(to, x, axis);
    return to.map("Div", x.shape, [exp, sum], (a, b) => `${a} / ${b}`);
  },
  LogSoftmax(to, [x], { axis }) {
    const { largest, sum } = shifted(to, x, axis);
    return to.map(
      "LogSoftmax",
      x.shape,
      [x, largest, sum],
      (value, most, total) => `(${value} - ${most}) - log(${total})`,
    );
  },
  ReduceSum: fold("sum"),
  ReduceMax: fold("max"),
  // The smallest index whose value is the largest.
  ArgMax(to, [x], { axis }, { shape }) {
    to.exact.add(x);
    const largest = to.reduce(x, [axis], "max");
    const none = literal(x.shape[axis] - 1);
    const index = to.map(
      "index of",
      x.shape,
      [x, largest, to.coordinate(x.shape, axis)],
      (value, most, at) => `select(${none}, ${at}, ${value} == ${most})`,
    );
    return to.reshape(to.reduce(index, [axis], "min"), shape);
  },
  OneHot: (to, [x], _, { shape }) =>
    to.map(
      "OneHot",
      shape,
      [to.reshape(x, squeezed(x.shape)), to.coordinate(shape, shape.length - 1)],
      (index, at) => `select(T(0), T(1), ${index} == ${at})`,
    ),
  // Integers are numbers here.
  Cast: (to, [x], { to: wanted }) =>
    wanted === "int32" ? to.map("trunc", x.shape, [x], (value) => `trunc(${value})`) : x,
  Reshape: (to, [x], _, { shape }) => to.reshape(x, shape),
  Transpose: (to, [x], { perm }) => to.transpose(x, perm),
  Expand: (to, [x], _, { shape }) => to.expand(x, shape),
  Conv: conv,
  ConvTranspose: convTranspose,
  MaxPool: maxPool,
  MaxPoolGrad: maxPoolGrad,
  AveragePool: averagePool,
  Slice: slice,
  Pad: (to, [x], { pads }, { shape }) => pad(to, x, shape, pads),
  // The sum of all of them, each padded to the whole: of every element all terms but one are 0.
  Concat(to, inputs, { axis }, { shape }) {
    let start = 0;
    const padded = inputs.map((input) => {
      const pads = shape.map((_, at) => (at === axis ? start : 0));
      start += input.shape[axis];
      return pad(to, input, shape, pads);
    });
    return padded.length === 1 ? padded[0] : to.map("Concat", shape, padded, (...terms) => terms.join(" + "));
  },
  MatMul: (to, [a, b]) => to.product(a, b, false, false),
  Sqrt: expression("Sqrt", (x) => `sqrt(${x})`),
  Trilu(to, [x], { upper }, { shape }) {
    const [row, column] = [shape.length - 2, shape.length - 1].map((axis) => to.coordinate(shape, axis));
    return to.map(
      `Trilu ${upper}`,
      shape,
      [x, row, column],
      (value, r, c) => `select(T(0), ${value}, ${c} ${upper ? ">=" : "<="} ${r})`,
    );
  },
  Gather: (to, [table, indices]) => to.rows(table, indices),
  // In one order, and without atomics: a product of which index is which row, or where that would be a large matrix, each
  // element of the table asks all indices.
  GatherGrad(to, [indices, rows], { depth }, { shape }) {
    const count = sizeOf(indices.shape);
    const width = sizeOf(shape.slice(1));
    const [flat, values] = [to.reshape(indices, [count]), to.reshape(rows, [count, width])];
    const isOf = (index: string, at: string): string => `${index} == ${at}`;
    if (count * depth <= LARGEST_SELECTION) {
      const chosen = to.map(
        "rows of",
        [depth, count],
        [to.coordinate([depth, count], 0), flat],
        (at, index) => `select(T(0), T(1), ${isOf(index, at)})`,
      );
      return to.reshape(to.product(chosen, values, false, false), shape);
    }
    const asked = [count, depth, width];
    to.exact.add(rows);
    const own = to.map(
      "GatherGrad",
      asked,
      [to.reshape(flat, [count, 1, 1]), to.coordinate(asked, 1), to.reshape(values, [count, 1, width])],
      (index, at, value) => `select(T(0), ${value}, ${isOf(index, at)})`,
    );
    return to.reshape(to.reduce(own, [0], "sum"), shape);
  },
};

/** Lowers one node. The table is keyed by op, so the attributes that go with it are of the right type. */
export const lowerOf = (op: OpName): Lower<OpName> => WGSL_OPS[op] as Lower<OpName>;
