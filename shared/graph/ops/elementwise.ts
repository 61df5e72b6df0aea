/** Ops that work element by element: arithmetic with NumPy broadcasting, and functions of one value. */

import * as v from "valibot";
import { erf } from "../erf.ts";
import type { OpAttributes, OpName, ValueId } from "../ir.ts";
import { broadcast, broadcastStrides, sameShape, type Tensor, type TensorType, walk } from "../tensor.ts";
import { type Emitter, type OpDefinition, requireFloat, shapeError, show, type VjpArguments } from "./definition.ts";

/** The schema of ops without attributes. */
const none = v.strictObject({}) as v.GenericSchema<unknown, Record<never, never>>;

type BinaryName = "Add" | "Sub" | "Mul" | "Div" | "Max";
type UnaryName =
  | "Neg"
  | "Abs"
  | "Sign"
  | "Exp"
  | "Log"
  | "Erf"
  | "Sqrt"
  | "Tanh"
  | "Sigmoid"
  | "Softplus"
  | "Relu"
  | "LeakyRelu";

function inferBroadcast([a, b]: readonly TensorType[]): TensorType {
  requireFloat([a, b]);
  const shape = broadcast(a.shape, b.shape);
  if (shape === null) throw shapeError(`${show(a.shape)} and ${show(b.shape)} do not broadcast`);
  return { dtype: "float32", shape };
}

function zip(a: Tensor, b: Tensor, shape: readonly number[], compute: (x: number, y: number) => number): Float64Array {
  const left = new Float64Array(shape.reduce((size, dimension) => size * dimension, 1));
  walk(shape, broadcastStrides(a.shape, shape), (index, offset) => {
    left[index] = a.data[offset];
  });
  walk(shape, broadcastStrides(b.shape, shape), (index, offset) => {
    left[index] = compute(left[index], b.data[offset]);
  });
  return left;
}

function binary<Op extends BinaryName>(
  compute: (x: number, y: number) => number,
  /** Cotangents of both inputs before they are summed over repeated axes. */
  backward: (to: Emitter, gradient: ValueId, a: ValueId, b: ValueId, output: ValueId) => readonly [ValueId, ValueId],
): OpDefinition<Op> {
  return {
    arity: [2, 2],
    attributes: none,
    infer: inferBroadcast,
    forward: ([a, b], _, { shape }) => zip(a, b, shape, compute),
    vjp({ to, inputs: [a, b], output, gradient }) {
      const shape = to.typeOf(output).shape;
      const whole = [a, b].every((input) => sameShape(to.typeOf(input).shape, shape));
      const [da, db] = backward(to, whole ? gradient : to.expand(gradient, shape), a, b, output);
      return [to.reduceTo(da, to.typeOf(a).shape), to.reduceTo(db, to.typeOf(b).shape)];
    },
  };
}

function unary<Op extends UnaryName>(
  compute: (x: number, attributes: OpAttributes[Op]) => number,
  backward: (args: VjpArguments<Op> & { readonly input: ValueId }) => ValueId | null,
  attributes = none as v.GenericSchema<unknown, OpAttributes[Op]>,
): OpDefinition<Op> {
  return {
    arity: [1, 1],
    attributes,
    infer([x]) {
      requireFloat([x]);
      return x;
    },
    forward: ([x], given) => x.data.map((value) => compute(value, given)),
    vjp: (args) => [backward({ ...args, input: args.inputs[0] })],
  };
}

/** Throughout: `to` emits, `gradient` is the output's cotangent. */
const mul = (to: Emitter, a: ValueId, b: ValueId): ValueId => to.emit("Mul", [a, b], {});

/** 1 where x > 0, else 0. */
const step = (to: Emitter, x: ValueId): ValueId => to.emit("Sign", [to.emit("Relu", [x], {})], {});

const sigmoid = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

export const elementwise: { readonly [Op in BinaryName | UnaryName]: OpDefinition<Op> } = {
  Add: binary(
    (x, y) => x + y,
    (_, gradient) => [gradient, gradient],
  ),
  Sub: binary(
    (x, y) => x - y,
    (to, gradient) => [gradient, to.emit("Neg", [gradient], {})],
  ),
  Mul: binary(
    (x, y) => x * y,
    (to, gradient, a, b) => [mul(to, gradient, b), mul(to, gradient, a)],
  ),
  // ∂(a/b)/∂b = −(a/b)/b
  Div: binary(
    (x, y) => x / y,
    (to, gradient, _, b, output) => {
      const da = to.emit("Div", [gradient, b], {});
      return [da, to.emit("Neg", [mul(to, da, output)], {})];
    },
  ),
  // Where both are equal the second one takes the gradient: clamping at a constant gives 0 there.
  Max: binary(
    (x, y) => (Number.isNaN(x) ? x : Math.max(x, y)),
    (to, gradient, a, b) => {
      const da = mul(to, gradient, step(to, to.emit("Sub", [a, b], {})));
      return [da, to.emit("Sub", [gradient, da], {})];
    },
  ),
  Neg: unary(
    (x) => -x,
    ({ to, gradient }) => to.emit("Neg", [gradient], {}),
  ),
  Abs: unary(Math.abs, ({ to, gradient, input }) => mul(to, gradient, to.emit("Sign", [input], {}))),
  Sign: unary(Math.sign, () => null),
  Exp: unary(Math.exp, ({ to, gradient, output }) => mul(to, gradient, output)),
  Log: unary(Math.log, ({ to, gradient, input }) => to.emit("Div", [gradient, input], {})),
  // erf′(x) = 2/√π · exp(−x²)
  Erf: unary(erf, ({ to, gradient, input }) => {
    const bell = to.emit("Exp", [to.emit("Neg", [mul(to, input, input)], {})], {});
    return mul(to, gradient, mul(to, bell, to.constant(2 / Math.sqrt(Math.PI))));
  }),
  // (√x)′ = ½ / √x
  Sqrt: unary(Math.sqrt, ({ to, gradient, output }) =>
    to.emit("Div", [mul(to, gradient, to.constant(0.5)), output], {}),
  ),
  Tanh: unary(Math.tanh, ({ to, gradient, output }) =>
    mul(to, gradient, to.emit("Sub", [to.constant(1), mul(to, output, output)], {})),
  ),
  Sigmoid: unary(sigmoid, ({ to, gradient, output }) =>
    mul(to, gradient, to.emit("Sub", [output, mul(to, output, output)], {})),
  ),
  Softplus: unary(
    (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
    ({ to, gradient, input }) => mul(to, gradient, to.emit("Sigmoid", [input], {})),
  ),
  // The derivative at 0 is 0, as in PyTorch; the output is 0 exactly where the input is not positive.
  Relu: unary(
    (x) => (x > 0 || Number.isNaN(x) ? x : 0),
    ({ to, gradient, output }) => mul(to, gradient, to.emit("Sign", [output], {})),
  ),
  // The slope at 0 is alpha, as in PyTorch.
  LeakyRelu: unary<"LeakyRelu">(
    (x, { alpha }) => (x > 0 ? x : alpha * x),
    ({ to, gradient, input, attributes: { alpha } }) => {
      const rise = mul(to, step(to, input), to.constant(1 - alpha));
      return mul(to, gradient, to.emit("Add", [rise, to.constant(alpha)], {}));
    },
    v.strictObject({ alpha: v.pipe(v.number(), v.finite()) }),
  ),
};

export type ElementwiseName = keyof typeof elementwise & OpName;
