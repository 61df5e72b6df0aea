/**
 * Convolutional layers by PyTorch's names and defaults, over samples [C, …] of one or two spatial axes.
 * https://pytorch.org/docs/stable/nn.html#convolution-layers
 */

import { GraphError } from "../graph/error.ts";
import { extent } from "../graph/ops/windows.ts";
import { sizeOf } from "../graph/tensor.ts";
import type { GraphWriter, Module } from "./module.ts";
import { requireChannels, requireCount, type Spatial, spread } from "./spatial.ts";

/** Options of `conv1d` and `conv2d`: one number, or one for each spatial axis. */
export interface ConvolutionOptions {
  /** Elements between neighbouring windows; 1 if absent. */
  readonly stride?: Spatial;
  /** Zeros on both sides; 0 if absent. `"same"` keeps the size (stride 1 only), `"valid"` is 0. */
  readonly padding?: Spatial | "same" | "valid";
  /** Elements between neighbouring taps; 1 if absent. */
  readonly dilation?: Spatial;
  /** Groups of channels that do not see each other; 1 if absent. */
  readonly groups?: number;
  readonly bias?: boolean;
}

/** Options of `convTranspose2d`. */
export interface TransposedOptions extends Omit<ConvolutionOptions, "padding"> {
  /** Taken off both sides of the output; 0 if absent. */
  readonly padding?: Spatial;
  /** Added to the end of the output, smaller than stride or dilation; 0 if absent. */
  readonly outputPadding?: Spatial;
}

function requireGroups(what: string, groups: number, inChannels: number, outChannels: number): void {
  requireCount(`${what}'s groups`, groups);
  if (inChannels % groups !== 0 || outChannels % groups !== 0) {
    throw new GraphError(
      "attribute",
      `${what}: ${inChannels} and ${outChannels} channels do not divide into ${groups} groups`,
    );
  }
}

/** Uniform in ±1/√(fan in), as PyTorch's kaiming_uniform(a = √5) comes to; the bias likewise. */
function operandsOf(to: GraphWriter, input: number, shape: readonly number[], bias: number | null): number[] {
  const init = { kind: "uniform", bound: 1 / Math.sqrt(sizeOf(shape.slice(1))) } as const;
  const weight = to.parameter("weight", shape, init);
  return bias === null ? [input, weight] : [input, weight, to.parameter("bias", [bias], init)];
}

/** Begins, then ends. `"same"` puts an odd zero at the end, as PyTorch does. */
function padsOf(
  what: string,
  padding: Spatial | "same" | "valid",
  { kernel, stride, dilation }: Readonly<Record<"kernel" | "stride" | "dilation", readonly number[]>>,
): number[] {
  if (padding === "valid") return [...kernel, ...kernel].map(() => 0);
  if (padding !== "same") {
    const sides = spread(`${what}'s padding`, padding, kernel.length, 0);
    return [...sides, ...sides];
  }
  if (stride.some((size) => size !== 1)) {
    throw new GraphError(
      "attribute",
      `${what}: padding "same" keeps the size, which stride ${stride} does not; expected 1`,
    );
  }
  const total = kernel.map((size, axis) => extent(size, dilation[axis]) - 1);
  return [...total.map((size) => Math.floor(size / 2)), ...total.map((size) => Math.ceil(size / 2))];
}

function convolution(
  axes: number,
): (inChannels: number, outChannels: number, kernelSize: Spatial, options?: ConvolutionOptions) => Module {
  const kind = `conv${axes}d`;
  return (inChannels, outChannels, kernelSize, options = {}) => {
    const { groups = 1, bias = true, padding = 0 } = options;
    requireCount(`${kind}'s input channels`, inChannels);
    requireCount(`${kind}'s output channels`, outChannels);
    requireGroups(kind, groups, inChannels, outChannels);
    const kernel = spread(`${kind}'s kernel size`, kernelSize, axes, 1);
    const stride = spread(`${kind}'s stride`, options.stride ?? 1, axes, 1);
    const dilation = spread(`${kind}'s dilation`, options.dilation ?? 1, axes, 1);
    const pads = padsOf(kind, padding, { kernel, stride, dilation });
    return {
      kind,
      build(to, input) {
        requireChannels(to, kind, input, axes, inChannels);
        const shape = [outChannels, inChannels / groups, ...kernel];
        const operands = operandsOf(to, input, shape, bias ? outChannels : null);
        return to.emit("Conv", operands, { strides: stride, pads, dilations: dilation, group: groups });
      },
    };
  };
}

/**
 * y[m, i] = bias[m] + Σ over c and taps k of x[c, i·stride + k·dilation − padding]·weight[m, c, k]:
 * x [N, inChannels, L] → [N, outChannels, L′], L′ = ⌊(L + 2·padding − dilation·(kernelSize − 1) − 1)/stride⌋ + 1.
 * Weight is [outChannels, inChannels/groups, kernelSize]. Throws GraphError `shape` where nothing is left.
 * https://pytorch.org/docs/stable/generated/torch.nn.Conv1d.html
 */
export const conv1d = convolution(1);

/**
 * The same over two axes: x [N, inChannels, H, W] → [N, outChannels, H′, W′]; sizes are a number or [height, width].
 * https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html
 */
export const conv2d = convolution(2);

/**
 * The adjoint of conv2d: x [N, inChannels, H, W] → [N, outChannels, H′, W′] with
 * H′ = (H − 1)·stride − 2·padding + dilation·(kernelSize − 1) + outputPadding + 1.
 * Weight is [inChannels, outChannels/groups, …kernelSize]; it and the bias start uniform in ±1/√(fan in), where PyTorch takes
 * the second axis for the fan in. https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html
 */
export function convTranspose2d(
  inChannels: number,
  outChannels: number,
  kernelSize: Spatial,
  options: TransposedOptions = {},
): Module {
  const kind = "convTranspose2d";
  const { groups = 1, bias = true } = options;
  requireCount(`${kind}'s input channels`, inChannels);
  requireCount(`${kind}'s output channels`, outChannels);
  requireGroups(kind, groups, inChannels, outChannels);
  const kernel = spread(`${kind}'s kernel size`, kernelSize, 2, 1);
  const strides = spread(`${kind}'s stride`, options.stride ?? 1, 2, 1);
  const dilations = spread(`${kind}'s dilation`, options.dilation ?? 1, 2, 1);
  const sides = spread(`${kind}'s padding`, options.padding ?? 0, 2, 0);
  const output_padding = spread(`${kind}'s output padding`, options.outputPadding ?? 0, 2, 0);
  return {
    kind,
    build(to, input) {
      requireChannels(to, kind, input, 2, inChannels);
      const shape = [inChannels, outChannels / groups, ...kernel];
      const operands = operandsOf(to, input, shape, bias ? outChannels : null);
      const pads = [...sides, ...sides];
      return to.emit("ConvTranspose", operands, { strides, pads, dilations, group: groups, output_padding });
    },
  };
}
