/** Pooling: the largest or the mean of each window, channel by channel. */

import * as v from "valibot";
import { GraphError } from "../error.ts";
import type { OpAttributes, PoolAttributes } from "../ir.ts";
import { sameShape, sizeOf, type Tensor, type TensorType } from "../tensor.ts";
import { type Emitter, type OpDefinition, requireFloat, shapeError, show } from "./definition.ts";
import {
  extent,
  positives,
  requireSpatial,
  sizesOf,
  tapsOf,
  type Windows,
  windowEntries,
  windowsOver,
} from "./windows.ts";

/** The windows of pooling over inputs of `shape`. Throws GraphError `shape`, also if a window could be all padding. */
export function poolWindows(shape: readonly number[], attributes: PoolAttributes): Windows {
  const { kernel_shape: kernel, strides, pads, dilations } = attributes;
  requireSpatial(shape, { kernel_shape: kernel, strides, pads, dilations });
  const plane = shape.slice(2);
  for (const [axis, size] of plane.entries()) {
    const padding = Math.max(pads[axis], pads[axis + plane.length]);
    if (padding > 0 && (padding >= extent(kernel[axis], dilations[axis]) || dilations[axis] > size)) {
      throw shapeError(`padding ${padding} along spatial axis ${axis} leaves windows with nothing but padding`);
    }
  }
  return windowsOver(plane, kernel, attributes);
}

const undilated = (attributes: OpAttributes["AveragePool"]): PoolAttributes => ({
  ...attributes,
  dilations: attributes.strides.map(() => 1),
});

function inferPool([x]: readonly TensorType[], attributes: PoolAttributes): TensorType {
  requireFloat([x]);
  return { dtype: "float32", shape: [...x.shape.slice(0, 2), ...poolWindows(x.shape, attributes).count] };
}

const costOf = ({ shape }: TensorType, kernel: readonly number[]) => ({
  flops: sizeOf(shape) * sizeOf(kernel),
  scratch: 0,
});

/** For each window the element of `x` that is its first largest one; a NaN is larger than any number. */
function largestOf(x: Tensor, windows: Windows): Int32Array {
  const [size, taps] = [sizesOf(windows), tapsOf(windows)];
  const planes = x.data.length / size.plane;
  const best = new Int32Array(planes * size.count).fill(-1);
  for (let at = 0; at < planes; at++) {
    for (const { window, element } of taps) {
      const [held, next] = [best[at * size.count + window], at * size.plane + element];
      if (held < 0 || x.data[next] > x.data[held] || (Number.isNaN(x.data[next]) && !Number.isNaN(x.data[held]))) {
        best[at * size.count + window] = next;
      }
    }
  }
  return best;
}

const poolAttributes = v.strictObject({ ...windowEntries, kernel_shape: positives });

const maxPool: OpDefinition<"MaxPool"> = {
  arity: [1, 1],
  attributes: poolAttributes,
  infer: inferPool,
  forward: ([x], attributes) =>
    Float64Array.from(largestOf(x, poolWindows(x.shape, attributes)), (element) => x.data[element]),
  vjp({ to, inputs: [x], output, gradient, attributes }) {
    const dy = to.expand(gradient, to.typeOf(output).shape);
    return [to.emit("MaxPoolGrad", [x, dy], attributes)];
  },
  cost: (_, { kernel_shape }, type) => costOf(type, kernel_shape),
};

const maxPoolGrad: OpDefinition<"MaxPoolGrad"> = {
  arity: [2, 2],
  attributes: poolAttributes,
  infer([x, dy], attributes) {
    requireFloat([x, dy]);
    const { shape } = inferPool([x], attributes);
    if (!sameShape(dy.shape, shape)) throw shapeError(`the cotangent is ${show(dy.shape)}, expected ${show(shape)}`);
    return x;
  },
  forward([x, dy], attributes) {
    const out = new Float64Array(x.data.length);
    for (const [window, element] of largestOf(x, poolWindows(x.shape, attributes)).entries()) {
      out[element] += dy.data[window];
    }
    return out;
  },
  // Only backward passes have it, and those are not differentiated again.
  // Whether an element is its window's largest has no derivative, and what would gather the cotangent is no op of ours.
  vjp() {
    throw new GraphError("structure", "MaxPoolGrad belongs to backward passes: it has no gradient of its own");
  },
  cost: ([x], { kernel_shape }) => costOf(x, kernel_shape),
};

const averagePool: OpDefinition<"AveragePool"> = {
  arity: [1, 1],
  attributes: v.strictObject({
    kernel_shape: positives,
    strides: windowEntries.strides,
    pads: windowEntries.pads,
    count_include_pad: v.boolean(),
  }),
  infer: (inputs, attributes) => inferPool(inputs, undilated(attributes)),
  forward([x], attributes, { shape }) {
    const windows = poolWindows(x.shape, undilated(attributes));
    const [size, taps] = [sizesOf(windows), tapsOf(windows)];
    const counted = new Float64Array(size.count);
    for (const { window } of taps) counted[window] += 1;
    const out = new Float64Array(sizeOf(shape));
    for (let at = 0; at < x.data.length / size.plane; at++) {
      for (const { window, element } of taps) {
        const among = attributes.count_include_pad ? size.kernel : counted[window];
        out[at * size.count + window] += x.data[at * size.plane + element] / among;
      }
    }
    return out;
  },
  // Every element of a window takes an equal share of its cotangent: a transposed convolution of each channel by itself.
  vjp({ to, inputs: [x], output, gradient, attributes }) {
    const [samples, channels, ...plane] = to.typeOf(x).shape;
    const { shape } = to.typeOf(output);
    const { kernel_shape: kernel, strides, pads, count_include_pad } = attributes;
    const whole = to.expand(gradient, shape);
    const shares =
      count_include_pad || pads.every((size) => size === 0)
        ? whole
        : to.emit("Div", [whole, filledPart(to, plane, attributes)], {});
    const apart = to.emit("Reshape", [shares], { shape: [samples * channels, 1, ...shape.slice(2)] });
    const mean = to.expand(to.constant(1 / sizeOf(kernel)), [1, 1, ...kernel]);
    const reached = shape.slice(2).map((count, axis) => {
      return (count - 1) * strides[axis] + kernel[axis] - pads[axis] - pads[axis + kernel.length];
    });
    const spread = to.emit("ConvTranspose", [apart, mean], {
      strides,
      pads,
      dilations: strides.map(() => 1),
      group: 1,
      output_padding: plane.map((size, axis) => size - reached[axis]),
    });
    return [to.emit("Reshape", [spread], { shape: [samples, channels, ...plane] })];
  },
  cost: (_, { kernel_shape }, type) => costOf(type, kernel_shape),
};

/** The part of each window that is no padding, [1, 1, …]. */
function filledPart(to: Emitter, plane: readonly number[], attributes: OpAttributes["AveragePool"]) {
  const ones = to.expand(to.constant(1), [1, 1, ...plane]);
  return to.emit("AveragePool", [ones], { ...attributes, count_include_pad: true });
}

export const pooling = { MaxPool: maxPool, MaxPoolGrad: maxPoolGrad, AveragePool: averagePool } as const;
