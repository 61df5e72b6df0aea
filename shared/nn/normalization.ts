/** Normalization layers by PyTorch's names and defaults. https://pytorch.org/docs/stable/nn.html#normalization-layers */

import { GraphError } from "../graph/error.ts";
import type { ValueId } from "../graph/ir.ts";
import type { GraphWriter, Module } from "./module.ts";
import { requireSize, showRow } from "./sizes.ts";

const ONE = { kind: "constant", value: 1 } as const;
const ZERO = { kind: "constant", value: 0 } as const;

const product = (sizes: readonly number[]): number => sizes.reduce((size, next) => size * next, 1);

/** The mean over `axes`, which stay as axes of size 1. */
function meanOver(to: GraphWriter, input: ValueId, axes: readonly number[]): ValueId {
  const shape = to.shapeOf(input);
  const sum = to.emit("ReduceSum", [input], { axes, keepdims: true });
  return to.emit("Mul", [sum, to.constant(1 / product(axes.map((axis) => shape[axis])))], {});
}

/** x / √(square + eps) */
function scaleBy(to: GraphWriter, input: ValueId, square: ValueId, eps: number): ValueId {
  const deviation = to.emit("Sqrt", [to.emit("Add", [square, to.constant(eps)], {})], {});
  return to.emit("Div", [input, deviation], {});
}

/** (x − mean) / √(variance + eps), the variance being the mean square of what is left (PyTorch's, without Bessel's correction). */
function standardize(to: GraphWriter, input: ValueId, axes: readonly number[], eps: number): ValueId {
  const centred = to.emit("Sub", [input, meanOver(to, input, axes)], {});
  const variance = meanOver(to, to.emit("Mul", [centred, centred], {}), axes);
  return scaleBy(to, centred, variance, eps);
}

/** The last axes that `normalizedShape` names. Throws GraphError `shape` where the input has others. */
function trailingAxes(to: GraphWriter, kind: string, input: ValueId, normalizedShape: readonly number[]): number[] {
  const shape = to.shapeOf(input);
  const first = shape.length - normalizedShape.length;
  if (first < 1 || normalizedShape.some((size, at) => shape[first + at] !== size)) {
    throw new GraphError(
      "shape",
      `layer ${to.path} (${kind}): expected input [N, …, ${normalizedShape.join(", ")}], got ${showRow(shape)}`,
    );
  }
  return normalizedShape.map((_, at) => first + at);
}

/** Axis 1 of an input [N, channels, …], and a parameter [channels] as it broadcasts there. */
function requireChannels(to: GraphWriter, kind: string, input: ValueId, channels: number): void {
  const shape = to.shapeOf(input);
  if (shape.length < 2 || shape[1] !== channels) {
    throw new GraphError(
      "shape",
      `layer ${to.path} (${kind}): expected input [N, ${channels}, …], got ${showRow(shape)}`,
    );
  }
}

/** [channels] → [channels, 1, …], to broadcast against [N, channels, …]. */
const alongChannels = (to: GraphWriter, value: ValueId, like: ValueId): ValueId =>
  to.emit("Reshape", [value], {
    shape: [
      0,
      ...to
        .shapeOf(like)
        .slice(2)
        .map(() => 1),
    ],
  });

/** x·weight + bias, with parameters of `shape` as `place` broadcasts them. */
function affine(
  to: GraphWriter,
  input: ValueId,
  shape: readonly number[],
  bias: boolean,
  place: (parameter: ValueId) => ValueId = (parameter) => parameter,
): ValueId {
  const scaled = to.emit("Mul", [input, place(to.parameter("weight", shape, ONE))], {});
  return bias ? to.emit("Add", [scaled, place(to.parameter("bias", shape, ZERO))], {}) : scaled;
}

const sizesOf = (kind: string, normalizedShape: number | readonly number[]): readonly number[] => {
  const sizes = typeof normalizedShape === "number" ? [normalizedShape] : normalizedShape;
  if (sizes.length === 0) throw new GraphError("attribute", `${kind}'s shape is empty, expected one size or more`);
  for (const size of sizes) requireSize(`${kind}'s size`, size);
  return sizes;
};

/**
 * Each sample's last axes to mean 0 and variance 1, then ·weight + bias, elementwise (arXiv 1607.06450).
 * https://pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html
 */
export function layerNorm(
  normalizedShape: number | readonly number[],
  {
    eps = 1e-5,
    elementwiseAffine = true,
    bias = true,
  }: { eps?: number; elementwiseAffine?: boolean; bias?: boolean } = {},
): Module {
  const sizes = sizesOf("layerNorm", normalizedShape);
  return {
    kind: "layerNorm",
    build(to, input) {
      const result = standardize(to, input, trailingAxes(to, "layerNorm", input, sizes), eps);
      return elementwiseAffine ? affine(to, result, sizes, bias) : result;
    },
  };
}

/** Smallest ε of float32: PyTorch's `eps` where none is given. */
const FLOAT32_EPSILON = 2 ** -23;

/**
 * x / √(mean of x² over the last axes + eps) · weight (arXiv 1910.07467).
 * https://pytorch.org/docs/stable/generated/torch.nn.RMSNorm.html
 */
export function rmsNorm(
  normalizedShape: number | readonly number[],
  { eps = FLOAT32_EPSILON, elementwiseAffine = true }: { eps?: number; elementwiseAffine?: boolean } = {},
): Module {
  const sizes = sizesOf("rmsNorm", normalizedShape);
  return {
    kind: "rmsNorm",
    build(to, input) {
      const square = to.emit("Mul", [input, input], {});
      const result = scaleBy(to, input, meanOver(to, square, trailingAxes(to, "rmsNorm", input, sizes)), eps);
      return elementwiseAffine ? affine(to, result, sizes, false) : result;
    },
  };
}

/**
 * [N, channels, …]: each sample's groups of channels to mean 0 and variance 1, then ·weight + bias by channel
 * (arXiv 1803.08494). What to use where a network had batch normalization: it asks nothing of the other samples.
 * https://pytorch.org/docs/stable/generated/torch.nn.GroupNorm.html
 */
export function groupNorm(
  numGroups: number,
  numChannels: number,
  { eps = 1e-5, affine: withParameters = true }: { eps?: number; affine?: boolean } = {},
): Module {
  requireSize("groupNorm's number of groups", numGroups);
  requireSize("groupNorm's number of channels", numChannels);
  if (numChannels % numGroups !== 0) {
    throw new GraphError("attribute", `groupNorm: ${numChannels} channels do not divide into ${numGroups} groups`);
  }
  return {
    kind: "groupNorm",
    build(to, input) {
      requireChannels(to, "groupNorm", input, numChannels);
      const grouped = to.emit("Reshape", [input], { shape: [0, numGroups, -1] });
      const result = to.emit("Reshape", [standardize(to, grouped, [2], eps)], {
        shape: [0, ...to.shapeOf(input).slice(1)],
      });
      if (!withParameters) return result;
      return affine(to, result, [numChannels], true, (parameter) => alongChannels(to, parameter, input));
    },
  };
}

/**
 * [N, channels, …] → (x − running_mean) / √(running_var + eps) · weight + bias by channel: PyTorch's BatchNorm1d and 2d in
 * evaluation. The statistics are buffers that training never changes, for networks that bring theirs; they start at 0 and 1.
 *
 * There is no other mode, because a batch's own statistics would make a sample's gradient depend on which samples it was
 * computed with, so that a step would depend on how it was cut among clients (invariant I1). Use `groupNorm` or
 * `layerNorm` in networks that are trained from the start.
 * https://pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html
 */
export function batchNorm(
  numFeatures: number,
  { eps = 1e-5, affine: withParameters = true }: { eps?: number; affine?: boolean } = {},
): Module {
  requireSize("batchNorm's number of features", numFeatures);
  return {
    kind: "batchNorm",
    build(to, input) {
      requireChannels(to, "batchNorm", input, numFeatures);
      const place = (parameter: ValueId): ValueId => alongChannels(to, parameter, input);
      const mean = to.buffer("running_mean", [numFeatures], ZERO);
      const variance = to.buffer("running_var", [numFeatures], ONE);
      const result = scaleBy(to, to.emit("Sub", [input, place(mean)], {}), place(variance), eps);
      return withParameters ? affine(to, result, [numFeatures], true, place) : result;
    },
  };
}
