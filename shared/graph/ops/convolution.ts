/**
 * Convolution (cross-correlation, as everywhere in deep learning) and its adjoint. Each is the other's backward pass, and the
 * gradient of the weights is a convolution again, with the batch as its channels: arXiv 1603.07285 has the arithmetic.
 */

import * as v from "valibot";
import type { ValueId, WindowAttributes } from "../ir.ts";
import { sameShape, sizeOf, type Tensor, type TensorType } from "../tensor.ts";
import { type Emitter, type OpDefinition, requireFloat, shapeError, show } from "./definition.ts";
import {
  extent,
  naturals,
  positive,
  requireSpatial,
  sizesOf,
  tapsOf,
  type Windows,
  windowEntries,
  windowsOver,
} from "./windows.ts";

function requireOperands(inputs: readonly TensorType[], group: number, outputs: (weight: readonly number[]) => number) {
  requireFloat(inputs);
  const [x, w, b] = inputs;
  if (w.shape.length !== x.shape.length) {
    throw shapeError(`weights ${show(w.shape)} have another rank than input ${show(x.shape)}`);
  }
  if (b !== undefined && !sameShape(b.shape, [outputs(w.shape)])) {
    throw shapeError(`the bias has shape ${show(b.shape)}, expected [${outputs(w.shape)}]`);
  }
  if (x.shape[1] % group !== 0 || outputs(w.shape) % group !== 0) {
    throw shapeError(`${x.shape[1]} channels to ${outputs(w.shape)} are not divisible into ${group} groups`);
  }
}

/** The windows of a convolution of `x` with weights `w`. */
export const convolutionWindows = (x: readonly number[], w: readonly number[], attributes: WindowAttributes): Windows =>
  windowsOver(x.slice(2), w.slice(2), attributes);

/** The windows of a transposed convolution: they lie over its output, one for each element of its input. */
export function transposedWindows(
  x: readonly number[],
  w: readonly number[],
  { strides, pads, dilations, output_padding }: WindowAttributes & { readonly output_padding: readonly number[] },
): Windows {
  const [count, kernel] = [x.slice(2), w.slice(2)];
  const begins = pads.slice(0, count.length);
  const plane = count.map((size, axis) => {
    const length =
      (size - 1) * strides[axis] +
      extent(kernel[axis], dilations[axis]) +
      output_padding[axis] -
      begins[axis] -
      pads[axis + count.length];
    if (length < 1) {
      throw shapeError(`nothing is left of the output along spatial axis ${axis}: padding takes more than there is`);
    }
    return length;
  });
  return { plane, kernel, count, strides, begins, dilations };
}

/** Adds bias [channels] to values [N, channels, …]. */
function addBias(out: Float64Array, bias: Tensor | undefined, channels: number, size: number): Float64Array {
  if (bias === undefined) return out;
  return out.map((value, index) => value + bias.data[Math.floor(index / size) % channels]);
}

/**
 * ∂/∂weights of a convolution of `plane` [N, C, …], with `gradient` [N, M, …] one for each window:
 * Σ over samples and windows, which is a convolution with the batch as channels, and stride and dilation exchanged.
 */
function weightGradient(
  to: Emitter,
  plane: ValueId,
  gradient: ValueId,
  kernel: readonly number[],
  { strides, pads, dilations, group }: WindowAttributes & { readonly group: number },
): ValueId {
  const [samples, channels, ...sizes] = to.typeOf(plane).shape;
  const axes = sizes.map((_, axis) => axis + 2);
  const perGroup = channels / group;
  const split = to.emit("Reshape", [plane], { shape: [samples, group, perGroup, ...sizes] });
  const swapped = to.emit("Transpose", [split], { perm: [2, 1, 0, ...axes.map((axis) => axis + 1)] });
  const batched = to.emit("Reshape", [swapped], { shape: [perGroup, group * samples, ...sizes] });
  const weights = to.emit("Transpose", [gradient], { perm: [1, 0, ...axes] });
  const whole = to.emit("Conv", [batched, weights], { strides: dilations, pads, dilations: strides, group });
  // Elements that no window reaches give taps beyond the kernel.
  const fitted = sliceTo(to, whole, axes, kernel); // [C/group, M, …kernel]
  return to.emit("Transpose", [fitted], { perm: [1, 0, ...axes] });
}

/** The first elements along axes, if there are more. */
function sliceTo(to: Emitter, id: ValueId, axes: readonly number[], sizes: readonly number[]): ValueId {
  const { shape } = to.typeOf(id);
  if (axes.every((axis, index) => shape[axis] === sizes[index])) return id;
  const numbers = (value: number): number[] => axes.map(() => value);
  return to.emit("Slice", [id], { starts: numbers(0), ends: sizes, axes, steps: numbers(1) });
}

/** Σ over samples and positions of a cotangent [N, M, …]. */
const biasGradient = (to: Emitter, dy: ValueId): ValueId => {
  const axes = to.typeOf(dy).shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]));
  return to.emit("ReduceSum", [dy], { axes, keepdims: false });
};

const conv: OpDefinition<"Conv"> = {
  arity: [2, 3],
  attributes: v.strictObject({ ...windowEntries, group: positive }),

  infer(inputs, { group, ...attributes }) {
    requireOperands(inputs, group, ([outputs]) => outputs);
    const [x, w] = inputs;
    requireSpatial(x.shape, { ...attributes });
    if (w.shape[1] * group !== x.shape[1]) {
      throw shapeError(`${x.shape[1]} channels in ${group} groups do not fit weights ${show(w.shape)}`);
    }
    const { count } = convolutionWindows(x.shape, w.shape, attributes);
    return { dtype: "float32", shape: [x.shape[0], w.shape[0], ...count] };
  },

  // y[n, m, window] = Σ over c and taps of x[n, c, element]·w[m, c, tap]
  forward([x, w, bias], { group, ...attributes }, { shape }) {
    const windows = convolutionWindows(x.shape, w.shape, attributes);
    const [size, taps] = [sizesOf(windows), tapsOf(windows)];
    const [samples, outputs] = shape;
    const [perGroup, channels] = [w.shape[1], x.shape[1]];
    const out = new Float64Array(sizeOf(shape));
    for (let n = 0; n < samples; n++) {
      for (let m = 0; m < outputs; m++) {
        const to = (n * outputs + m) * size.count;
        const firstChannel = Math.floor(m / (outputs / group)) * perGroup;
        for (let c = 0; c < perGroup; c++) {
          const from = (n * channels + firstChannel + c) * size.plane;
          const weight = (m * perGroup + c) * size.kernel;
          for (const { window, tap, element } of taps)
            out[to + window] += x.data[from + element] * w.data[weight + tap];
        }
      }
    }
    return addBias(out, bias, outputs, size.count);
  },

  vjp({ to, inputs: [x, w, bias], output, gradient, attributes }) {
    const dy = to.expand(gradient, to.typeOf(output).shape);
    const [plane, kernel] = [to.typeOf(x).shape.slice(2), to.typeOf(w).shape.slice(2)];
    const { strides, pads, dilations } = attributes;
    // What is left beyond the last window.
    const output_padding = plane.map((size, axis) => {
      const beyond = size + pads[axis] + pads[axis + plane.length] - extent(kernel[axis], dilations[axis]);
      return beyond % strides[axis];
    });
    const dx = to.emit("ConvTranspose", [dy, w], { ...attributes, output_padding });
    const dw = weightGradient(to, x, dy, kernel, attributes);
    return bias === undefined ? [dx, dw] : [dx, dw, biasGradient(to, dy)];
  },

  cost([x, w], { group, ...attributes }, { shape }) {
    const { count, kernel } = convolutionWindows(x.shape, w.shape, attributes);
    return {
      flops: 2 * sizeOf(shape) * sizeOf(w.shape.slice(1)),
      scratch: x.shape[0] * x.shape[1] * sizeOf(kernel) * sizeOf(count),
    };
  },
};

const convTranspose: OpDefinition<"ConvTranspose"> = {
  arity: [2, 3],
  attributes: v.strictObject({ ...windowEntries, group: positive, output_padding: naturals }),

  infer(inputs, { group, ...attributes }) {
    requireOperands(inputs, group, ([, outputs]) => outputs * group);
    const [x, w] = inputs;
    requireSpatial(x.shape, { ...attributes });
    if (w.shape[0] !== x.shape[1]) {
      throw shapeError(`${x.shape[1]} channels do not fit transposed weights ${show(w.shape)}`);
    }
    for (const [axis, size] of attributes.output_padding.entries()) {
      const [stride, dilation] = [attributes.strides[axis], attributes.dilations[axis]];
      if (size >= Math.max(stride, dilation)) {
        throw shapeError(`output_padding ${size} is not smaller than stride ${stride} or dilation ${dilation}`);
      }
    }
    const { plane } = transposedWindows(x.shape, w.shape, attributes);
    return { dtype: "float32", shape: [x.shape[0], w.shape[1] * group, ...plane] };
  },

  // y[n, m, element] = Σ over c and taps of x[n, c, window]·w[c, m, tap]
  forward([x, w, bias], { group, ...attributes }, { shape }) {
    const windows = transposedWindows(x.shape, w.shape, attributes);
    const [size, taps] = [sizesOf(windows), tapsOf(windows)];
    const [samples, channels] = x.shape;
    const [perGroup, outputs] = [w.shape[1], shape[1]];
    const out = new Float64Array(sizeOf(shape));
    for (let n = 0; n < samples; n++) {
      for (let c = 0; c < channels; c++) {
        const from = (n * channels + c) * size.count;
        const firstOutput = Math.floor(c / (channels / group)) * perGroup;
        for (let m = 0; m < perGroup; m++) {
          const to = (n * outputs + firstOutput + m) * size.plane;
          const weight = (c * perGroup + m) * size.kernel;
          for (const { window, tap, element } of taps)
            out[to + element] += x.data[from + window] * w.data[weight + tap];
        }
      }
    }
    return addBias(out, bias, outputs, size.plane);
  },

  vjp({ to, inputs: [x, w, bias], output, gradient, attributes: { output_padding: _, ...attributes } }) {
    const dy = to.expand(gradient, to.typeOf(output).shape);
    const [count, kernel] = [to.typeOf(x).shape.slice(2), to.typeOf(w).shape.slice(2)];
    // Output padding of a stride and more makes room for windows that the forward pass does not have.
    const windows = to.emit("Conv", [dy, w], attributes);
    const axes = count.map((_, axis) => axis + 2);
    const dx = sliceTo(to, windows, axes, count);
    const dw = weightGradient(to, dy, x, kernel, attributes);
    return bias === undefined ? [dx, dw] : [dx, dw, biasGradient(to, dy)];
  },

  cost([x, w], _, { shape }) {
    return {
      flops: 2 * sizeOf(x.shape) * sizeOf(w.shape.slice(1)),
      scratch: shape[0] * x.shape[1] * sizeOf(w.shape.slice(2)) * sizeOf(shape.slice(2)),
    };
  },
};

export const convolution = { Conv: conv, ConvTranspose: convTranspose } as const;
