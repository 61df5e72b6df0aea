/** Arithmetic, activations, comparisons, and the choice between two values: element by element. */

import { GraphError } from "../../graph/error.ts";
import type { OpName, ValueId } from "../../graph/ir.ts";
import { TRACE_BATCH } from "../../nn/module.ts";
import { floatAttribute, intAttribute, stringAttribute } from "../folding.ts";
import type { Constant } from "../tensor.ts";
import { dtypeOf } from "../tensor.ts";
import { type Operands, type Operation, tableOf, unsupported, type Writing, writing } from "./definition.ts";

type Plain = Extract<
  OpName,
  | "Add"
  | "Sub"
  | "Mul"
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

/** A function of two values, written out. */
const pair =
  (build: (write: Writing, a: ValueId, b: ValueId) => ValueId): Operation =>
  ({ to, value }) =>
    build(writing(to), value(0), value(1));

/** Any number of values, two by two. */
const chain =
  (combine: (write: Writing) => (a: ValueId, b: ValueId) => ValueId): Operation =>
  ({ to, count, value }) =>
    Array.from({ length: count }, (_, index) => value(index)).reduce(combine(writing(to)));

/** x where x > 0, else alpha·(eˣ − 1), of an x that is first divided by `scale`. */
const elu = ({ add, mul, sub, exp, neg, relu, number }: Writing, x: ValueId, alpha: number, scale = 1): ValueId => {
  const below = neg(relu(scale === 1 ? neg(x) : mul(neg(x), number(1 / scale)))); // min(0, x/scale)
  return add(relu(x), mul(number(alpha), sub(exp(below), number(1))));
};

const SELU = { alpha: 1.6732632423543772, gamma: 1.0507009873554805 } as const;

/** x between 0 and 1 after alpha·x + beta. */
const hardSigmoid = ({ add, mul, max, min, number }: Writing, x: ValueId, alpha: number, beta: number): ValueId =>
  max(number(0), min(number(1), add(mul(x, number(alpha)), number(beta))));

/** x·Φ(x), or its approximation by tanh (arXiv 1606.08415). */
const gelu: Operation = ({ to, value, attributes }) => {
  const { add, mul, number } = writing(to);
  const x = value(0);
  const half = mul(x, number(0.5));
  const approximate = stringAttribute(attributes, "approximate", "none");
  if (approximate === "none") {
    return mul(half, add(to.emit("Erf", [mul(x, number(Math.SQRT1_2))], {}), number(1)));
  }
  if (approximate !== "tanh") throw new GraphError("attribute", "approximate is neither none nor tanh");
  const cubic = add(x, mul(number(0.044715), mul(x, mul(x, x))));
  return mul(half, add(to.emit("Tanh", [mul(number(Math.sqrt(2 / Math.PI)), cubic)], {}), number(1)));
};

/** Whole powers up to here are products; others go by exp and log, which gradients at 0 do not survive. */
const LARGEST_PRODUCT = 64;

/** x to a whole power of 1 and more, by squaring. */
function multiplied({ mul }: Writing, x: ValueId, power: number): ValueId {
  let [result, square] = [null as ValueId | null, x];
  for (let rest = power; ; square = mul(square, square)) {
    if (rest % 2 === 1) result = result === null ? square : mul(result, square);
    rest = Math.floor(rest / 2);
    if (rest === 0) return result ?? x;
  }
}

/** Powers that differ from element to element: whole ones of any x, with the sign of x where they are odd, or fractions. */
function raised(
  operands: Operands,
  { abs, add, exp, log, mul, number, sign, sub }: Writing,
  x: ValueId,
  powers: Constant,
) {
  const whole = powers.data.filter(Number.isInteger).length;
  if (powers.data.includes(0) || (whole !== 0 && whole !== powers.data.length)) {
    throw unsupported("powers that are not one number are supported where all are whole or none is, and none is 0");
  }
  const exponents = operands.table(powers);
  if (whole === 0) return exp(mul(exponents, log(x)));
  const isOdd = operands.table({ ...powers, data: powers.data.map((power) => Math.abs(power % 2)) });
  // sign(x)^odd = 1 + odd·(sign(x) − 1)
  return mul(exp(mul(exponents, log(abs(x)))), add(number(1), mul(isOdd, sub(sign(x), number(1)))));
}

const pow: Operation = (operands) => {
  const { to, value, known, isComputed } = operands;
  const write = writing(to);
  const { div, exp, log, mul, number, sqrt } = write;
  if (isComputed(1)) {
    const base = isComputed(0) ? undefined : known(0);
    if (base === undefined || !base.data.every((number) => number > 0)) {
      throw unsupported("a power that is computed is supported of a known base that is positive");
    }
    return exp(mul(value(1), log(operands.table(base))));
  }
  const powers = known(1);
  const [power] = powers?.data ?? [];
  if (powers === undefined || power === undefined) throw unsupported("there is no power");
  const x = value(0);
  if (powers.data.some((other) => other !== power)) return raised(operands, write, x, powers);
  const shaped = (y: ValueId): ValueId =>
    powers.data.length === 1 && powers.shape.length <= to.shapeOf(x).length
      ? y
      : mul(y, operands.table({ ...powers, data: powers.data.map(() => 1) }));
  const size = Math.abs(power);
  const positive = ((): ValueId => {
    if (size === 0) return to.emit("Sub", [x, x], {});
    if (size === 0.5) return sqrt(x);
    if (size === 1.5) return mul(x, sqrt(x));
    if (Number.isInteger(size) && size <= LARGEST_PRODUCT) return multiplied(write, x, size);
    if (Number.isInteger(size))
      throw unsupported(`the power ${power} is not supported: whole ones are up to ${LARGEST_PRODUCT}`);
    return exp(mul(number(size), log(x)));
  })();
  if (size === 0) return shaped(to.emit("Add", [positive, number(1)], {}));
  return shaped(power > 0 ? positive : div(number(1), positive));
};

const divide: Operation = (operands) => {
  const { to, typeOf, value } = operands;
  if (typeOf(0) === "int" && typeOf(1) === "int")
    throw unsupported("a whole quotient of computed values is not supported");
  return to.emit("Div", [value(0), value(1)], {});
};

/** Bounds that float32 cannot hold are none. */
const isBound = (bound: number | undefined): bound is number => bound !== undefined && Math.abs(bound) < 3.4e38;

const clip: Operation = ({ to, value, known }) => {
  const { max, min, number } = writing(to);
  const [low, high] = [known(1)?.data[0], known(2)?.data[0]];
  const lifted = isBound(low) ? max(value(0), number(low)) : value(0);
  return isBound(high) ? min(lifted, number(high)) : lifted;
};

/** x moved towards 0 by `bias` where it is farther than `lambd` from it, and 0 elsewhere. */
const shrink = composed((x, { add, sub, mul, neg, greater, number }, attributes) => {
  const [bias, lambd] = [floatAttribute(attributes, "bias", 0), floatAttribute(attributes, "lambd", 0.5)];
  const [above, below] = [greater(x, number(lambd)), greater(neg(x), number(lambd))];
  return add(mul(above, sub(x, number(bias))), mul(below, add(x, number(bias))));
});

/** a where the condition holds, else b; what is known of them is put together here. */
const where: Operation = (operands) => {
  const { to, value, known, isComputed, table } = operands;
  const { add, mul, not } = writing(to);
  if (isComputed(0)) {
    const condition = value(0);
    return add(mul(condition, value(1)), mul(not(condition), value(2)));
  }
  const condition = known(0) ?? tableOf([], [1]);
  const holds = table(tableOf(condition.shape, condition.data));
  const fails = table(
    tableOf(
      condition.shape,
      condition.data.map((held) => 1 - held),
    ),
  );
  return add(mul(holds, value(1)), mul(fails, value(2)));
};

/** Fractions stay: training is in float32, whatever width the file says. */
const cast: Operation = ({ to, attributes, typeOf, value, raw }) => {
  const wanted = dtypeOf(intAttribute(attributes, "to", 0));
  if (wanted === null) throw unsupported("the element type that it casts to is not read");
  if (wanted === "bool" && typeOf(0) !== "bool") {
    const { abs, sign } = writing(to);
    return sign(abs(value(0)));
  }
  if (wanted === "int" && typeOf(0) === "float") return to.emit("Cast", [value(0)], { to: "int32" });
  return wanted === "int" ? raw(0) : value(0);
};

const castLike: Operation = (operands) => {
  if (operands.typeOf(0) !== operands.typeOf(1)) throw unsupported("it casts to another kind of number");
  return operands.raw(0);
};

/** Left out of what is imported, and trained with: the mask is the session's own. */
const dropout: Operation = ({ to, attributes, outputs, value, known, expand }) => {
  const isTraining = (known(2)?.data[0] ?? 0) !== 0;
  const probability = known(1)?.data[0] ?? floatAttribute(attributes, "ratio", 0.5);
  if (!isTraining || probability === 0) {
    return outputs === 1 ? value(0) : [value(0), expand(to.constant(1), to.shapeOf(value(0)))];
  }
  const shape = to.shapeOf(value(0));
  const { mul } = writing(to);
  const mask = (units: readonly number[]): ValueId =>
    to.emit("DropoutMask", [], { probability, layer: to.nextLayer(), shape: units });
  const at = shape.indexOf(TRACE_BATCH);
  if (at < 0) throw new GraphError("shape", "its samples are not along an axis of their own, and masks go by sample");
  if (at === 0) return mul(value(0), mask(shape.slice(1)));
  // A mask is [N, …]: where the batch is another axis, it is turned around.
  const front = [at, ...shape.flatMap((_, axis) => (axis === at ? [] : [axis]))];
  const turned = to.emit("Transpose", [mask(front.slice(1).map((axis) => shape[axis]))], {
    perm: shape.map((_, axis) => front.indexOf(axis)),
  });
  return mul(value(0), turned);
};

export const elementwise: Readonly<Record<string, Operation>> = {
  Abs: same("Abs"),
  Add: same("Add"),
  And: pair(({ mul }, a, b) => mul(a, b)),
  Cast: cast,
  CastLike: castLike,
  Celu: composed((x, write, attributes) => {
    const alpha = floatAttribute(attributes, "alpha", 1);
    return elu(write, x, alpha, alpha);
  }),
  Clip: clip,
  Div: divide,
  Dropout: dropout,
  Elu: composed((x, write, attributes) => elu(write, x, floatAttribute(attributes, "alpha", 1))),
  Equal: pair(({ abs, not, sign, sub }, a, b) => not(sign(abs(sub(a, b))))),
  Erf: same("Erf"),
  Exp: same("Exp"),
  Gelu: gelu,
  Greater: pair(({ greater }, a, b) => greater(a, b)),
  GreaterOrEqual: pair(({ greater, not }, a, b) => not(greater(b, a))),
  HardSigmoid: composed((x, write, attributes) =>
    hardSigmoid(write, x, floatAttribute(attributes, "alpha", 0.2), floatAttribute(attributes, "beta", 0.5)),
  ),
  HardSwish: composed((x, write) => write.mul(x, hardSigmoid(write, x, 1 / 6, 0.5))),
  Identity: ({ raw }) => raw(0),
  LeakyRelu: ({ to, attributes, value }) =>
    to.emit("LeakyRelu", [value(0)], { alpha: floatAttribute(attributes, "alpha", 0.01) }),
  Less: pair(({ greater }, a, b) => greater(b, a)),
  LessOrEqual: pair(({ greater, not }, a, b) => not(greater(a, b))),
  Log: same("Log"),
  Max: chain(({ max }) => max),
  Mean: ({ to, count, value }) => {
    const { add, mul, number } = writing(to);
    return mul(Array.from({ length: count }, (_, index) => value(index)).reduce(add), number(1 / count));
  },
  Min: chain(({ min }) => min),
  Mish: ({ to, value }) => to.emit("Mul", [value(0), to.emit("Tanh", [to.emit("Softplus", [value(0)], {})], {})], {}),
  Mul: same("Mul"),
  Neg: same("Neg"),
  Not: composed((x, { not }) => not(x)),
  Or: pair(({ max }, a, b) => max(a, b)),
  Pow: pow,
  PRelu: pair(({ mul, neg, relu, sub }, x, slope) => sub(relu(x), mul(slope, relu(neg(x))))),
  Reciprocal: composed((x, { div, number }) => div(number(1), x)),
  Relu: same("Relu"),
  Selu: composed((x, write, attributes) => {
    const alpha = floatAttribute(attributes, "alpha", SELU.alpha);
    return write.mul(write.number(floatAttribute(attributes, "gamma", SELU.gamma)), elu(write, x, alpha));
  }),
  Shrink: shrink,
  Sigmoid: same("Sigmoid"),
  Sign: same("Sign"),
  Softplus: same("Softplus"),
  Softsign: composed((x, { abs, add, div, number }) => div(x, add(abs(x), number(1)))),
  Sqrt: same("Sqrt"),
  Sub: same("Sub"),
  Sum: chain(({ add }) => add),
  Tanh: same("Tanh"),
  ThresholdedRelu: composed((x, { greater, mul, number }, attributes) =>
    mul(x, greater(x, number(floatAttribute(attributes, "alpha", 1)))),
  ),
  Where: where,
  Xor: pair(({ abs, sub }, a, b) => abs(sub(a, b))),
};
