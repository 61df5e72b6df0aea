/**
 * Pooling layers by PyTorch's names and defaults, over samples [C, …] of one or two spatial axes.
 * https://pytorch.org/docs/stable/nn.html#pooling-layers
 */

import type { ValueId } from "../graph/ir.ts";
import type { GraphWriter, Module } from "./module.ts";
import { concatenate } from "./parts.ts";
import { requireChannels, type Spatial, spread } from "./spatial.ts";

/** How windows lie: one number, or one for each spatial axis. */
export interface PoolOptions {
  /** Elements between neighbouring windows; the kernel's size if absent. */
  readonly stride?: Spatial;
  /** Padding on both sides, which is never the largest; 0 if absent. */
  readonly padding?: Spatial;
}

/** Options of `maxPool1d` and `maxPool2d`. */
export interface MaxPoolOptions extends PoolOptions {
  /** Elements between neighbouring taps; 1 if absent. */
  readonly dilation?: Spatial;
}

/** Options of `avgPool1d` and `avgPool2d`. */
export interface AveragePoolOptions extends PoolOptions {
  /** Whether zeros of the padding count as elements; true if absent. */
  readonly countIncludePad?: boolean;
}

function windowsOf(kind: string, axes: number, kernelSize: Spatial, { stride, padding = 0 }: PoolOptions) {
  const kernel_shape = spread(`${kind}'s kernel size`, kernelSize, axes, 1);
  const strides = spread(`${kind}'s stride`, stride ?? kernel_shape, axes, 1);
  const sides = spread(`${kind}'s padding`, padding, axes, 0);
  return { kernel_shape, strides, pads: [...sides, ...sides] };
}

function largest(axes: number): (kernelSize: Spatial, options?: MaxPoolOptions) => Module {
  const kind = `maxPool${axes}d`;
  return (kernelSize, options = {}) => {
    const windows = windowsOf(kind, axes, kernelSize, options);
    const dilations = spread(`${kind}'s dilation`, options.dilation ?? 1, axes, 1);
    return {
      kind,
      build(to, input) {
        requireChannels(to, kind, input, axes, null);
        return to.emit("MaxPool", [input], { ...windows, dilations });
      },
    };
  };
}

function mean(axes: number): (kernelSize: Spatial, options?: AveragePoolOptions) => Module {
  const kind = `avgPool${axes}d`;
  return (kernelSize, options = {}) => {
    const windows = windowsOf(kind, axes, kernelSize, options);
    return {
      kind,
      build(to, input) {
        requireChannels(to, kind, input, axes, null);
        return to.emit("AveragePool", [input], { ...windows, count_include_pad: options.countIncludePad ?? true });
      },
    };
  };
}

/**
 * The largest of each window: [N, C, L] → [N, C, L′], L′ = ⌊(L + 2·padding − dilation·(kernelSize − 1) − 1)/stride⌋ + 1. The
 * first of several largest ones takes the gradient. https://pytorch.org/docs/stable/generated/torch.nn.MaxPool1d.html
 */
export const maxPool1d = largest(1);

/** The same over two axes, [N, C, H, W] → [N, C, H′, W′]; sizes are a number or [height, width]. */
export const maxPool2d = largest(2);

/**
 * The mean of each window: [N, C, L] → [N, C, L′], L′ = ⌊(L + 2·padding − kernelSize)/stride⌋ + 1.
 * https://pytorch.org/docs/stable/generated/torch.nn.AvgPool1d.html
 */
export const avgPool1d = mean(1);

/** The same over two axes, [N, C, H, W] → [N, C, H′, W′]; sizes are a number or [height, width]. */
export const avgPool2d = mean(2);

/**
 * Means over as many windows as asked for: [N, C, H, W] → [N, C, …outputSize]. Window i of O over H elements reaches from
 * ⌊i·H/O⌋ to before ⌈(i + 1)·H/O⌉, so that windows may overlap and differ in size.
 * https://pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool2d.html
 */
export function adaptiveAvgPool2d(outputSize: Spatial): Module {
  const kind = "adaptiveAvgPool2d";
  const sizes = spread(`${kind}'s output size`, outputSize, 2, 1);
  return {
    kind,
    build(to, input) {
      const [, ...plane] = requireChannels(to, kind, input, 2, null);
      if (sizes.every((size, axis) => plane[axis] % size === 0)) {
        const kernel = plane.map((size, axis) => size / sizes[axis]);
        const windows = { kernel_shape: kernel, strides: kernel, pads: [0, 0, 0, 0], count_include_pad: true };
        return to.emit("AveragePool", [input], windows);
      }
      // A window's mean is the mean along one axis of the means along the other.
      return sizes.reduce((value, size, axis) => unevenMeans(to, value, axis + 2, size), input);
    },
  };
}

/** Means along one axis over the windows of adaptive pooling. */
function unevenMeans(to: GraphWriter, input: ValueId, axis: number, count: number): ValueId {
  const length = to.shapeOf(input)[axis];
  const means = Array.from({ length: count }, (_, index) => {
    const [start, end] = [Math.floor((index * length) / count), Math.ceil(((index + 1) * length) / count)];
    const part = to.emit("Slice", [input], { starts: [start], ends: [end], axes: [axis], steps: [1] });
    if (end - start === 1) return part;
    const sum = to.emit("ReduceSum", [part], { axes: [axis], keepdims: true });
    return to.emit("Mul", [sum, to.constant(1 / (end - start))], {});
  });
  return concatenate(to, means, axis);
}
