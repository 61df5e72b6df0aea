/** Layers by PyTorch's names and defaults. https://pytorch.org/docs/stable/nn.html */

import { GraphError } from "../graph/error.ts";
import type { OpName, Parameter } from "../graph/ir.ts";
import { geluByTanh } from "./activations.ts";
import { buildChild, type Module } from "./module.ts";
import { requireSize, showRow } from "./sizes.ts";

/** Options of `linear`. */
export interface LinearOptions {
  readonly bias?: boolean;
  /** Where the bias starts, instead of uniform. */
  readonly biasInit?: Parameter["init"];
  /**
   * Weight tying: the module, such as an embedding [outFeatures, inFeatures], whose `weight` this layer's is. They are one
   * tensor, trained once and exported under both names. The module must come before this one.
   */
  readonly weightOf?: Module;
}

/**
 * y = x·Wᵀ + b with W [outFeatures, inFeatures]: x [N, …, inFeatures] → [N, …, outFeatures].
 * Weight and bias start uniform in ±1/√inFeatures, as in PyTorch.
 */
export function linear(
  inFeatures: number,
  outFeatures: number,
  { bias = true, biasInit, weightOf }: LinearOptions = {},
): Module {
  requireSize("linear's input size", inFeatures);
  requireSize("linear's output size", outFeatures);
  const module: Module = {
    kind: "linear",
    build(to, input) {
      const shape = to.shapeOf(input);
      if (shape.length < 2 || shape[shape.length - 1] !== inFeatures) {
        const whole = shape.slice(1).reduce((size, next) => size * next, 1) === inFeatures;
        const hint = shape.length > 2 && whole ? "; put nn.flatten() before it" : "";
        const expected = shape.length > 2 ? `[N, …, ${inFeatures}]` : `[N, ${inFeatures}]`;
        throw new GraphError(
          "shape",
          `layer ${to.path} (linear): expected input ${expected}, got ${showRow(shape)}${hint}`,
        );
      }
      const init = { kind: "uniform", bound: 1 / Math.sqrt(inFeatures) } as const;
      const sizes = [outFeatures, inFeatures];
      const weight =
        weightOf === undefined
          ? to.own(module, to.parameter("weight", sizes, init))
          : to.alias(weightOf, "weight", sizes);
      const rows = shape.length === 2 ? input : to.emit("Reshape", [input], { shape: [-1, inFeatures] });
      const operands = bias ? [rows, weight, to.parameter("bias", [outFeatures], biasInit ?? init)] : [rows, weight];
      const output = to.emit("Gemm", operands, { transA: false, transB: true });
      if (shape.length === 2) return output;
      return to.emit("Reshape", [output], { shape: [-1, ...shape.slice(1, -1), outFeatures] });
    },
  };
  return module;
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

/** One of the model's inputs by its name, whatever comes before: where a model has several. */
export const input = (name: string): Module => ({ kind: "input", build: (to) => to.input(name) });

/** The sum of what several modules make of the same value, by NumPy broadcasting; named by index, as in a ModuleList. */
export function sum(...modules: readonly Module[]): Module {
  if (modules.length === 0) throw new GraphError("attribute", "sum has no modules, expected one or more");
  return {
    kind: "sum",
    build(to, value) {
      const [first, ...others] = modules.map((module, index) => buildChild(to, module, String(index), value));
      return others.reduce((total, next) => to.emit("Add", [total, next], {}), first);
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
