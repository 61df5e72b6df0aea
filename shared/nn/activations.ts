/**
 * Activations by PyTorch's names and defaults, written in the ops that there are; the plainest (ReLU, sigmoid, tanh, leaky
 * ReLU, exact GELU) are with the layers. https://pytorch.org/docs/stable/nn.html#non-linear-activations-weighted-sum-nonlinearity
 */

import { GraphError } from "../graph/error.ts";
import type { ValueId } from "../graph/ir.ts";
import type { GraphWriter, Module } from "./module.ts";

const add = (to: GraphWriter, a: ValueId, b: ValueId): ValueId => to.emit("Add", [a, b], {});
const sub = (to: GraphWriter, a: ValueId, b: ValueId): ValueId => to.emit("Sub", [a, b], {});
const mul = (to: GraphWriter, a: ValueId, b: ValueId): ValueId => to.emit("Mul", [a, b], {});

/**
 * x where x > 0, else alpha·(eˣ − 1); the slope at 0 is alpha, as in PyTorch.
 * https://pytorch.org/docs/stable/generated/torch.nn.ELU.html
 */
export function elu(alpha = 1): Module {
  return {
    kind: "elu",
    build(to, input) {
      const positive = to.emit("Relu", [input], {});
      // x − relu(x) is min(x, 0), with the derivative 1 at 0.
      const rest = sub(to, to.emit("Exp", [sub(to, input, positive)], {}), to.constant(1));
      return add(to, positive, alpha === 1 ? rest : mul(to, rest, to.constant(alpha)));
    },
  };
}

/** ½x·(1 + tanh(√(2/π)·(x + 0.044715x³))): what PyTorch calls GELU with `approximate="tanh"` (arXiv 1606.08415). */
export function geluByTanh(to: GraphWriter, input: ValueId): ValueId {
  const inner = add(to, mul(to, mul(to, mul(to, input, input), input), to.constant(0.044715)), input);
  const tanh = to.emit("Tanh", [mul(to, inner, to.constant(Math.sqrt(2 / Math.PI)))], {});
  return mul(to, mul(to, input, to.constant(0.5)), add(to, tanh, to.constant(1)));
}

/** x·sigmoid(x). https://pytorch.org/docs/stable/generated/torch.nn.SiLU.html */
export function silu(): Module {
  return { kind: "silu", build: (to, input) => mul(to, input, to.emit("Sigmoid", [input], {})) };
}

/** From here softplus is the identity to all digits of a float32. */
const SATURATED = 20;

/**
 * log(1 + e^(beta·x))/beta, and x where beta·x > threshold. Throws GraphError unless beta > 0.
 * https://pytorch.org/docs/stable/generated/torch.nn.Softplus.html
 */
export function softplus({ beta = 1, threshold = 20 }: { beta?: number; threshold?: number } = {}): Module {
  if (!(beta > 0)) throw new GraphError("attribute", `softplus's beta is ${beta}, expected a positive number`);
  return {
    kind: "softplus",
    build(to, input) {
      const scaled = beta === 1 ? input : mul(to, input, to.constant(beta));
      const soft = to.emit("Softplus", [scaled], {});
      const unscale = (value: ValueId): ValueId => (beta === 1 ? value : mul(to, value, to.constant(1 / beta)));
      if (threshold >= SATURATED) return unscale(soft);
      const isAbove = to.emit("Sign", [to.emit("Relu", [sub(to, scaled, to.constant(threshold))], {})], {});
      return unscale(add(to, soft, mul(to, isAbove, sub(to, scaled, soft))));
    },
  };
}

/** An axis of one sample, counted from the end where negative. Axis 0 would mix samples (invariant I1). */
function sampleAxis(to: GraphWriter, kind: string, input: ValueId, dim: number): number {
  const rank = to.shapeOf(input).length;
  const axis = dim < 0 ? dim + rank : dim;
  if (Number.isInteger(axis) && axis >= 1 && axis < rank) return axis;
  throw new GraphError(
    "shape",
    `layer ${to.path} (${kind}): dim is ${dim}, expected an axis of a sample, 1 to ${rank - 1}`,
  );
}

/** eˣ ÷ Σ eˣ along `dim`, an axis of the batch's tensor but not its first. Throws GraphError `shape`. */
export function softmax(dim = -1): Module {
  return {
    kind: "softmax",
    build: (to, input) => to.emit("Softmax", [input], { axis: sampleAxis(to, "softmax", input, dim) }),
  };
}

/** x − log Σ eˣ along `dim`, an axis of the batch's tensor but not its first. Throws GraphError `shape`. */
export function logSoftmax(dim = -1): Module {
  return {
    kind: "logSoftmax",
    build: (to, input) => to.emit("LogSoftmax", [input], { axis: sampleAxis(to, "logSoftmax", input, dim) }),
  };
}
