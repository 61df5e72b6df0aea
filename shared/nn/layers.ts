/** Layers by PyTorch's names and defaults. https://pytorch.org/docs/stable/nn.html */

import { GraphError } from "../graph/error.ts";
import type { OpName, ValueId } from "../graph/ir.ts";
import { geluByTanh } from "./activations.ts";
import type { GraphWriter, Module } from "./module.ts";

function requireSize(what: string, size: number): void {
  if (!Number.isInteger(size) || size < 1)
    throw new GraphError("attribute", `${what} is ${size}, expected a positive integer`);
}

const showRow = (shape: readonly number[]): string =>
  `[N${shape
    .slice(1)
    .map((size) => `, ${size}`)
    .join("")}]`;

/**
 * y = x·Wᵀ + b with W [outFeatures, inFeatures]: x [N, inFeatures] → [N, outFeatures].
 * Weight and bias start uniform in ±1/√inFeatures, as in PyTorch.
 */
export function linear(inFeatures: number, outFeatures: number, { bias = true }: { bias?: boolean } = {}): Module {
  requireSize("linear's input size", inFeatures);
  requireSize("linear's output size", outFeatures);
  return {
    kind: "linear",
    build(to, input) {
      const shape = to.shapeOf(input);
      if (shape.length !== 2 || shape[1] !== inFeatures) {
        const hint = shape.length > 2 ? "; put nn.flatten() before it" : "";
        throw new GraphError(
          "shape",
          `layer ${to.path} (linear): expected input [N, ${inFeatures}], got ${showRow(shape)}${hint}`,
        );
      }
      const init = { kind: "uniform", bound: 1 / Math.sqrt(inFeatures) } as const;
      const weight = to.parameter("weight", [outFeatures, inFeatures], init);
      const operands = bias ? [input, weight, to.parameter("bias", [outFeatures], init)] : [input, weight];
      return to.emit("Gemm", operands, { transA: false, transB: true });
    },
  };
}

/** A module of one op without attributes. */
function activation(kind: string, op: Extract<OpName, "Relu" | "Sigmoid" | "Tanh">): () => Module {
  return () => ({ kind, build: (to, input) => to.emit(op, [input], {}) });
}

/** max(0, x); its derivative at 0 is 0. */
export const relu = activation("relu", "Relu");

/** 1 / (1 + e⁻ˣ) */
export const sigmoid = activation("sigmoid", "Sigmoid");

/** (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ) */
export const tanh = activation("tanh", "Tanh");

/** x where x > 0, else negativeSlope·x. */
export function leakyRelu(negativeSlope = 0.01): Module {
  return { kind: "leakyRelu", build: (to, input) => to.emit("LeakyRelu", [input], { alpha: negativeSlope }) };
}

/**
 * x·Φ(x) with the normal distribution's Φ(x) = ½(1 + erf(x/√2)) (arXiv 1606.08415): exact, unless the tanh shortcut is asked for.
 * https://pytorch.org/docs/stable/generated/torch.nn.GELU.html
 */
export function gelu({ approximate = "none" }: { approximate?: "none" | "tanh" } = {}): Module {
  return {
    kind: "gelu",
    build(to, input) {
      if (approximate === "tanh") return geluByTanh(to, input);
      const erf = to.emit("Erf", [to.emit("Mul", [input, to.constant(Math.SQRT1_2)], {})], {});
      const phi = to.emit("Mul", [to.emit("Add", [erf, to.constant(1)], {}), to.constant(0.5)], {});
      return to.emit("Mul", [input, phi], {});
    },
  };
}

/** [N, a, b, …] → [N, a·b·…] */
export function flatten(): Module {
  return { kind: "flatten", build: (to, input) => to.emit("Reshape", [input], { shape: [0, -1] }) };
}

/**
 * While training, sets each unit to 0 with `probability` and scales the others by 1/(1 − probability). The mask is a function
 * of (seed, step, layer, position in the step, unit), so it does not depend on who computes the sample.
 */
export function dropout(probability = 0.5): Module {
  if (!(probability >= 0 && probability <= 0.999)) {
    throw new GraphError("attribute", `dropout's probability is ${probability}, expected 0 to 0.999`);
  }
  return {
    kind: "dropout",
    build(to, input) {
      if (probability === 0) return input;
      const mask = to.emit("DropoutMask", [], {
        probability,
        layer: to.nextLayer(),
        shape: to.shapeOf(input).slice(1),
      });
      return to.emit("Mul", [input, mask], {});
    },
  };
}

/** Applies modules one after another; their parameters are named by index, as in PyTorch's Sequential. */
export function sequential(...modules: readonly Module[]): Module {
  return {
    kind: "sequential",
    build: (to, input) => modules.reduce((value, module, index) => buildChild(to, module, String(index), value), input),
  };
}

/** x + module(x); the module keeps the shape. Its parameters are named `module.…`. */
export function residual(module: Module): Module {
  return {
    kind: "residual",
    build(to, input) {
      const output = buildChild(to, module, "module", input);
      const [before, after] = [to.shapeOf(input), to.shapeOf(output)];
      if (before.join() !== after.join()) {
        throw new GraphError(
          "shape",
          `layer ${to.path} (residual): the inner module turns ${showRow(before)} into ${showRow(after)}, expected the same shape`,
        );
      }
      return to.emit("Add", [input, output], {});
    },
  };
}

const buildChild = (to: GraphWriter, module: Module, name: string, input: ValueId): ValueId =>
  to.within(name, () => module.build(to, input));

export { elu, logSoftmax, silu, softmax, softplus } from "./activations.ts";
export { conv1d, conv2d, convTranspose2d } from "./convolution.ts";
export { parallel, permute, reshape, slice } from "./parts.ts";
export { adaptiveAvgPool2d, avgPool1d, avgPool2d, maxPool1d, maxPool2d } from "./pooling.ts";
