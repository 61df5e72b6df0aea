/**
 * ONNX's ops as nodes of the IR: one entry an op. What the IR has under the same name is one word; the others are written
 * out in ops that it has. https://onnx.ai/onnx/operators/
 */

import { GraphError } from "../graph/error.ts";
import type { OpName, ValueId } from "../graph/ir.ts";
import type { GraphWriter } from "../nn/module.ts";
import {
  axisOf,
  floatAttribute,
  intAttribute,
  intsAttribute,
  isBatch,
  permutationOf,
  squeezed,
  unsqueezed,
} from "./folding.ts";
import type { Attribute } from "./model.ts";
import type { Constant } from "./tensor.ts";

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
  has(index: number): boolean;
  /** An input as a value of the graph: parameters and constants are brought in. Throws GraphError where it is left out. */
  value(index: number): ValueId;
  /** An input as one that is not trained. */
  buffer(index: number): ValueId;
  matrix(index: number): Matrix;
  /** An input that is known, or undefined where it is left out. Throws GraphError where it is computed. */
  known(index: number): Constant | undefined;
  /** In another shape; sizes that go with the batch do so in the new one. `list` as Reshape has it. */
  reshape(value: ValueId, list: readonly number[], allowZero?: boolean): ValueId;
  expand(value: ValueId, shape: readonly number[]): ValueId;
}

/** Adds what computes a node's first output; no other one is made. */
type Operation = (operands: Operands) => ValueId;

type Plain = Extract<
  OpName,
  | "Add"
  | "Sub"
  | "Mul"
  | "Div"
  | "Neg"
  | "Abs"
  | "Sign"
  | "Exp"
  | "Log"
  | "Erf"
  | "Tanh"
  | "Sigmoid"
  | "Softplus"
  | "Relu"
>;

/** An op without attributes that the IR has under the same name. */
const same =
  (op: Plain): Operation =>
  ({ to, count, value }) =>
    to.emit(
      op,
      Array.from({ length: count }, (_, index) => value(index)),
      {},
    );

/** A function of one value, written out. */
const composed =
  (build: (x: ValueId, write: Writing, attributes: Operands["attributes"]) => ValueId): Operation =>
  ({ to, value, attributes }) =>
    build(value(0), writing(to), attributes);

/** Short names for what formulas are made of. */
function writing(to: GraphWriter) {
  const add = (a: ValueId, b: ValueId): ValueId => to.emit("Add", [a, b], {});
  const mul = (a: ValueId, b: ValueId): ValueId => to.emit("Mul", [a, b], {});
  const sub = (a: ValueId, b: ValueId): ValueId => to.emit("Sub", [a, b], {});
  const max = (a: ValueId, b: ValueId): ValueId => to.emit("Max", [a, b], {});
  const neg = (x: ValueId): ValueId => to.emit("Neg", [x], {});
  const exp = (x: ValueId): ValueId => to.emit("Exp", [x], {});
  const log = (x: ValueId): ValueId => to.emit("Log", [x], {});
  const relu = (x: ValueId): ValueId => to.emit("Relu", [x], {});
  const number = (value: number): ValueId => to.constant(value);
  /** x^power of positive x; the IR has no root. */
  const power = (x: ValueId, exponent: number): ValueId => exp(mul(number(exponent), log(x)));
  const min = (a: ValueId, b: ValueId): ValueId => neg(max(neg(a), neg(b)));
  return { add, mul, sub, max, min, neg, exp, log, relu, number, power };
}

type Writing = ReturnType<typeof writing>;

/** x where x > 0, else alpha·(eˣ − 1), of an x that is first divided by `scale`. */
const elu = ({ add, mul, sub, exp, neg, relu, number }: Writing, x: ValueId, alpha: number, scale = 1): ValueId => {
  const below = neg(relu(scale === 1 ? neg(x) : mul(neg(x), number(1 / scale)))); // min(0, x/scale)
  return add(relu(x), mul(number(alpha), sub(exp(below), number(1))));
};

const SELU = { alpha: 1.6732632423543772, gamma: 1.0507009873554805 } as const;

/** Axes of a reduction: an attribute, or since opset 13 (sum) and 18 (others) an input; all of them where none are said. */
function reducedAxes({ to, attributes, has, known, value }: Operands): readonly number[] | null {
  const rank = to.shapeOf(value(0)).length;
  const listed = intsAttribute(attributes, "axes") ?? (has(1) ? Array.from(known(1)?.data ?? []) : []);
  if (listed.length === 0 && intAttribute(attributes, "noop_with_empty_axes", 0) !== 0) return null;
  const axes = listed.length === 0 ? Array.from({ length: rank }, (_, axis) => axis) : listed;
  const sorted = [...new Set(axes.map((axis) => axisOf(axis, rank)))].sort((a, b) => a - b);
  if (sorted.some((axis) => isBatch(to.shapeOf(value(0))[axis]))) {
    throw new GraphError("shape", "it reduces over the batch: a sample's output would depend on the others");
  }
  return sorted;
}

function reduction(reduce: (operands: Operands, axes: readonly number[], keepdims: boolean) => ValueId): Operation {
  return (operands) => {
    const axes = reducedAxes(operands);
    if (axes === null || axes.length === 0) return operands.value(0);
    return reduce(operands, axes, intAttribute(operands.attributes, "keepdims", 1) !== 0);
  };
}

function sum(to: GraphWriter, x: ValueId, axes: readonly number[], keepdims: boolean): ValueId {
  return to.emit("ReduceSum", [x], { axes, keepdims });
}

function mean(to: GraphWriter, x: ValueId, axes: readonly number[], keepdims: boolean): ValueId {
  const count = axes.reduce((size, axis) => size * to.shapeOf(x)[axis], 1);
  return to.emit("Mul", [sum(to, x, axes, keepdims), to.constant(1 / count)], {});
}

const softmaxAxis = ({ to, attributes, value }: Operands): number =>
  axisOf(intAttribute(attributes, "axis", -1), to.shapeOf(value(0)).length);

/** A′·B′: matrices, or stacks of rows times one matrix. */
function product(operands: Operands): ValueId {
  const { to, value, matrix, reshape } = operands;
  const shape = to.shapeOf(value(0));
  const { id, isTransposed } = matrix(1);
  const right = to.shapeOf(id);
  if (right.length !== 2 || shape.length < 2) {
    throw new GraphError(
      "unknown-op",
      `a product of [${shape.length} axes] and [${right.length} axes] is not supported`,
    );
  }
  const rows = shape.length === 2 ? value(0) : reshape(value(0), [-1, shape[shape.length - 1]]);
  const y = to.emit("Gemm", [rows, id], { transA: false, transB: isTransposed });
  if (shape.length === 2) return y;
  return reshape(y, [...shape.slice(0, -1), isTransposed ? right[0] : right[1]]);
}

/** alpha·A′·B′ + beta·C */
function gemm({ to, attributes, value, matrix, has }: Operands): ValueId {
  const { mul, number } = writing(to);
  const [alpha, beta] = ["alpha", "beta"].map((name) => floatAttribute(attributes, name, 1));
  const { id, isTransposed } = matrix(1);
  const flags = {
    transA: intAttribute(attributes, "transA", 0) !== 0,
    transB: (intAttribute(attributes, "transB", 0) !== 0) !== isTransposed,
  };
  if (alpha === 1 && beta === 1) return to.emit("Gemm", has(2) ? [value(0), id, value(2)] : [value(0), id], flags);
  const scaled = mul(to.emit("Gemm", [value(0), id], flags), number(alpha));
  return has(2) ? to.emit("Add", [scaled, mul(value(2), number(beta))], {}) : scaled;
}

/** With the statistics that were measured while it was trained: a scale and a shift. */
function batchNormalization({ to, attributes, value, buffer, reshape }: Operands): ValueId {
  if (intAttribute(attributes, "training_mode", 0) !== 0) {
    throw new GraphError("attribute", "it takes its statistics from the batch: export the model after model.eval()");
  }
  const { add, mul, sub, number, power } = writing(to);
  const rank = to.shapeOf(value(0)).length;
  // [C] → [C, 1, …], so that it broadcasts over the axes behind the channels.
  const perChannel = (id: ValueId): ValueId =>
    rank === 2 ? id : reshape(id, [to.shapeOf(id)[0], ...new Array<number>(rank - 2).fill(1)]);
  const inverse = power(add(buffer(4), number(floatAttribute(attributes, "epsilon", 1e-5))), -0.5);
  const centred = sub(value(0), perChannel(buffer(3)));
  return add(mul(centred, perChannel(mul(value(1), inverse))), perChannel(value(2)));
}

/** (x − mean) / √(variance + epsilon) · scale + shift over the axes from `axis` on. */
function layerNormalization({ to, attributes, value, has }: Operands): ValueId {
  const { add, mul, sub, number, power } = writing(to);
  const { length: rank } = to.shapeOf(value(0));
  const first = axisOf(intAttribute(attributes, "axis", -1), rank);
  const axes = Array.from({ length: rank - first }, (_, index) => first + index);
  if (axes.some((axis) => isBatch(to.shapeOf(value(0))[axis]))) {
    throw new GraphError("shape", "it normalises over the batch: a sample's output would depend on the others");
  }
  const centred = sub(value(0), mean(to, value(0), axes, true));
  const variance = mean(to, mul(centred, centred), axes, true);
  const inverse = power(add(variance, number(floatAttribute(attributes, "epsilon", 1e-5))), -0.5);
  const scaled = mul(mul(centred, inverse), value(1));
  return has(2) ? add(scaled, value(2)) : scaled;
}

/** x to a power that is known: products for small whole ones. */
function pow({ to, value, known }: Operands): ValueId {
  const exponent = known(1);
  if (exponent?.data.length !== 1)
    throw new GraphError("unknown-op", "a power that is no single number is not supported");
  const [power] = exponent.data;
  const { mul, number, power: raise } = writing(to);
  if (power === 1) return value(0);
  if (power === 0.5 || power === -0.5) return raise(value(0), power);
  if (power === -1) return to.emit("Div", [number(1), value(0)], {});
  if (!Number.isInteger(power) || power < 2 || power > 8) {
    throw new GraphError("unknown-op", `the power ${power} is not supported: it is ±½, −1, or 2 to 8`);
  }
  let result = value(0);
  for (let factor = 1; factor < power; factor++) result = mul(result, value(0));
  return result;
}

function clip({ to, value, known }: Operands): ValueId {
  const { max, min, number } = writing(to);
  const [low, high] = [known(1)?.data[0], known(2)?.data[0]];
  // Bounds that float32 cannot hold are none.
  const isBound = (bound: number | undefined): bound is number => bound !== undefined && Math.abs(bound) < 3.4e38;
  const raised = isBound(low) ? max(value(0), number(low)) : value(0);
  return isBound(high) ? min(raised, number(high)) : raised;
}

/** Folds a list of inputs by an op of two. */
const chain =
  (combine: (write: Writing) => (a: ValueId, b: ValueId) => ValueId): Operation =>
  ({ to, count, value }) =>
    Array.from({ length: count }, (_, index) => value(index)).reduce(combine(writing(to)));

/** Left out of what is imported, and trained with: the mask is the session's own. */
function dropout({ to, value, known }: Operands): ValueId {
  const isTraining = (known(2)?.data[0] ?? 0) !== 0;
  const probability = known(1)?.data[0] ?? 0.5;
  if (!isTraining || probability === 0) return value(0);
  const shape = to.shapeOf(value(0));
  if (!isBatch(shape[0] ?? 0)) return value(0);
  const mask = to.emit("DropoutMask", [], { probability, layer: to.nextLayer(), shape: shape.slice(1) });
  return to.emit("Mul", [value(0), mask], {});
}

const axesOf = ({ known, attributes }: Operands): readonly number[] | undefined => {
  const listed = known(1);
  return listed === undefined ? intsAttribute(attributes, "axes") : Array.from(listed.data);
};

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  Abs: same("Abs"),
  Add: same("Add"),
  BatchNormalization: batchNormalization,
  Cast: ({ value }) => value(0),
  Celu: composed((x, write, attributes) => {
    const alpha = floatAttribute(attributes, "alpha", 1);
    return elu(write, x, alpha, alpha);
  }),
  Clip: clip,
  Div: same("Div"),
  Dropout: dropout,
  Elu: composed((x, write, attributes) => elu(write, x, floatAttribute(attributes, "alpha", 1))),
  Erf: same("Erf"),
  Exp: same("Exp"),
  Expand: ({ value, known, expand }) => expand(value(0), Array.from(known(1)?.data ?? [])),
  Flatten({ to, attributes, value, reshape }) {
    const shape = to.shapeOf(value(0));
    const at = intAttribute(attributes, "axis", 1);
    const axis = at === shape.length ? at : axisOf(at, shape.length);
    const size = (part: readonly number[]): number => part.reduce((product, next) => product * next, 1);
    return reshape(value(0), [size(shape.slice(0, axis)), size(shape.slice(axis))]);
  },
  Gemm: gemm,
  HardSigmoid: composed((x, { add, mul, max, min, number }, attributes) => {
    const [alpha, beta] = [floatAttribute(attributes, "alpha", 0.2), floatAttribute(attributes, "beta", 0.5)];
    return max(number(0), min(number(1), add(mul(x, number(alpha)), number(beta))));
  }),
  HardSwish: composed((x, { add, mul, max, min, number }) =>
    mul(x, max(number(0), min(number(1), add(mul(x, number(1 / 6)), number(0.5))))),
  ),
  Identity: ({ value }) => value(0),
  LayerNormalization: layerNormalization,
  LeakyRelu: ({ to, attributes, value }) =>
    to.emit("LeakyRelu", [value(0)], { alpha: floatAttribute(attributes, "alpha", 0.01) }),
  Log: same("Log"),
  LogSoftmax: (operands) => operands.to.emit("LogSoftmax", [operands.value(0)], { axis: softmaxAxis(operands) }),
  MatMul: product,
  Max: chain(({ max }) => max),
  Mean: ({ to, count, value }) => {
    const { add, mul, number } = writing(to);
    return mul(Array.from({ length: count }, (_, index) => value(index)).reduce(add), number(1 / count));
  },
  Min: chain(({ min }) => min),
  Mul: same("Mul"),
  Neg: same("Neg"),
  Pow: pow,
  PRelu({ to, value }) {
    const { mul, neg, relu, sub } = writing(to);
    return sub(relu(value(0)), mul(value(1), relu(neg(value(0)))));
  },
  Reciprocal: ({ to, value }) => to.emit("Div", [to.constant(1), value(0)], {}),
  ReduceMax: reduction(({ to, value }, axes, keepdims) => to.emit("ReduceMax", [value(0)], { axes, keepdims })),
  ReduceMean: reduction(({ to, value }, axes, keepdims) => mean(to, value(0), axes, keepdims)),
  ReduceMin: reduction(({ to, value }, axes, keepdims) => {
    const { neg } = writing(to);
    return neg(to.emit("ReduceMax", [neg(value(0))], { axes, keepdims }));
  }),
  ReduceSum: reduction(({ to, value }, axes, keepdims) => sum(to, value(0), axes, keepdims)),
  ReduceSumSquare: reduction(({ to, value }, axes, keepdims) =>
    sum(to, writing(to).mul(value(0), value(0)), axes, keepdims),
  ),
  Relu: same("Relu"),
  Reshape: ({ attributes, value, known, reshape }) =>
    reshape(value(0), Array.from(known(1)?.data ?? []), intAttribute(attributes, "allowzero", 0) !== 0),
  Selu: composed((x, write, attributes) => {
    const alpha = floatAttribute(attributes, "alpha", SELU.alpha);
    return write.mul(write.number(floatAttribute(attributes, "gamma", SELU.gamma)), elu(write, x, alpha));
  }),
  Sigmoid: same("Sigmoid"),
  Sign: same("Sign"),
  Softmax: (operands) => operands.to.emit("Softmax", [operands.value(0)], { axis: softmaxAxis(operands) }),
  Softplus: same("Softplus"),
  Softsign: ({ to, value }) => {
    const magnitude = to.emit("Abs", [value(0)], {});
    return to.emit("Div", [value(0), to.emit("Add", [magnitude, to.constant(1)], {})], {});
  },
  Sqrt: composed((x, { power }) => power(x, 0.5)),
  Squeeze: (operands) => {
    const x = operands.value(0);
    return operands.reshape(x, squeezed(operands.to.shapeOf(x), axesOf(operands)));
  },
  Sub: same("Sub"),
  Sum: chain(({ add }) => add),
  Tanh: same("Tanh"),
  Transpose({ to, attributes, value }) {
    const perm = permutationOf(intsAttribute(attributes, "perm"), to.shapeOf(value(0)).length);
    return to.emit("Transpose", [value(0)], { perm });
  },
  Unsqueeze: (operands) => {
    const x = operands.value(0);
    return operands.reshape(x, unsqueezed(operands.to.shapeOf(x), axesOf(operands) ?? []));
  },
};
