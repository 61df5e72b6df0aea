/** Convolutions and pooling: ONNX says padding in several ways, the IR in one. */

import { GraphError } from "../../graph/error.ts";
import type { ValueId, WindowAttributes } from "../../graph/ir.ts";
import { extent } from "../../graph/ops/windows.ts";
import { sizeOf } from "../../graph/tensor.ts";
import { intAttribute, intsAttribute, requireRoom, stringAttribute } from "../folding.ts";
import { type Operands, type Operation, tableOf, unsupported, upTo, writing } from "./definition.ts";

/** Padding that makes ⌈size / stride⌉ windows, the odd element at the end or at the begin. */
function samePads(
  plane: readonly number[],
  kernel: readonly number[],
  strides: readonly number[],
  dilations: readonly number[],
  isUpper: boolean,
): number[] {
  const totals = plane.map((size, axis) =>
    Math.max(0, (Math.ceil(size / strides[axis]) - 1) * strides[axis] + extent(kernel[axis], dilations[axis]) - size),
  );
  const less = totals.map((total) => Math.floor(total / 2));
  const more = totals.map((total, axis) => total - less[axis]);
  return isUpper ? [...less, ...more] : [...more, ...less];
}

/** What windows of a size lie like over a plane. Throws GraphError `attribute`. */
function windowsOf({ attributes }: Operands, plane: readonly number[], kernel: readonly number[]): WindowAttributes {
  const ones = plane.map(() => 1);
  const strides = intsAttribute(attributes, "strides") ?? ones;
  const dilations = intsAttribute(attributes, "dilations") ?? ones;
  const pads = intsAttribute(attributes, "pads") ?? [...plane, ...plane].map(() => 0);
  const auto = stringAttribute(attributes, "auto_pad", "NOTSET");
  if (auto === "SAME_UPPER" || auto === "SAME_LOWER") {
    return { strides, dilations, pads: samePads(plane, kernel, strides, dilations, auto === "SAME_UPPER") };
  }
  if (auto === "VALID") return { strides, dilations, pads: pads.map(() => 0) };
  if (auto !== "NOTSET") throw new GraphError("attribute", "auto_pad is none that is known");
  return { strides, dilations, pads };
}

const kernelOf = ({ attributes }: Operands): readonly number[] => {
  const kernel = intsAttribute(attributes, "kernel_shape");
  if (kernel === undefined) throw new GraphError("attribute", "kernel_shape is missing");
  return kernel;
};

/** Input, weights, and the bias if there is one. */
const operandsOf = ({ value, has }: Operands): ValueId[] =>
  has(2) ? [value(0), value(1), value(2)] : [value(0), value(1)];

const conv: Operation = (operands) => {
  const { to, attributes, value } = operands;
  const [plane, kernel] = [value(0), value(1)].map((id) => to.shapeOf(id).slice(2));
  const group = intAttribute(attributes, "group", 1);
  return to.emit("Conv", operandsOf(operands), { ...windowsOf(operands, plane, kernel), group });
};

/** Padding of a transposed convolution is what is cut off; `output_shape` says it by what is to be left. */
function transposedPads(operands: Operands, plane: readonly number[], kernel: readonly number[]) {
  const { attributes } = operands;
  const { strides, dilations, pads } = windowsOf(operands, plane, kernel);
  const output_padding = [...(intsAttribute(attributes, "output_padding") ?? plane.map(() => 0))];
  const auto = stringAttribute(attributes, "auto_pad", "NOTSET");
  const isSame = auto === "SAME_UPPER" || auto === "SAME_LOWER";
  const wanted =
    intsAttribute(attributes, "output_shape")?.slice(-plane.length) ??
    (isSame ? plane.map((size, axis) => size * strides[axis]) : undefined);
  if (wanted === undefined) return { strides, dilations, pads, output_padding };
  const cut = plane.map((size, axis) => {
    const whole = (size - 1) * strides[axis] + extent(kernel[axis], dilations[axis]) + output_padding[axis];
    // More than there is: zeros at the end.
    if (wanted[axis] > whole) output_padding[axis] += wanted[axis] - whole;
    return Math.max(0, whole - wanted[axis]);
  });
  const less = cut.map((total) => Math.floor(total / 2));
  const more = cut.map((total, axis) => total - less[axis]);
  return { strides, dilations, pads: auto === "SAME_UPPER" ? [...less, ...more] : [...more, ...less], output_padding };
}

const convTranspose: Operation = (operands) => {
  const { to, attributes, value } = operands;
  const [plane, kernel] = [value(0), value(1)].map((id) => to.shapeOf(id).slice(2));
  const group = intAttribute(attributes, "group", 1);
  return to.emit("ConvTranspose", operandsOf(operands), { ...transposedPads(operands, plane, kernel), group });
};

/** Windows of pooling; with `ceil_mode` a last one that begins within the plane or the padding before it may reach beyond. */
function poolingWindows(operands: Operands, plane: readonly number[], kernel: readonly number[]) {
  const { strides, dilations, pads } = windowsOf(operands, plane, kernel);
  const beyond = plane.map((size, axis) => {
    if (intAttribute(operands.attributes, "ceil_mode", 0) === 0) return 0;
    const padded = size + pads[axis] + pads[axis + plane.length];
    const needed = extent(kernel[axis], dilations[axis]);
    const last = Math.ceil((padded - needed) / strides[axis]);
    const count = last * strides[axis] >= size + pads[axis] ? last : last + 1;
    return Math.max(0, (count - 1) * strides[axis] + needed - padded);
  });
  const reach = pads.map((size, at) => (at < plane.length ? size : size + beyond[at - plane.length]));
  return { strides, dilations, pads, reach };
}

const maxPool: Operation = (operands) => {
  const { to, attributes, value } = operands;
  const kernel = kernelOf(operands);
  const { strides, dilations, reach } = poolingWindows(operands, to.shapeOf(value(0)).slice(2), kernel);
  if (operands.outputs > 1) throw unsupported("its output of indices is not supported");
  if (intAttribute(attributes, "storage_order", 0) !== 0) throw unsupported("column-major indices are not supported");
  return to.emit("MaxPool", [value(0)], { kernel_shape: kernel, strides, dilations, pads: reach });
};

/** How many elements each window counts: those of the plane, and of the padding if it counts. [1, 1, …windows] */
function counted(
  plane: readonly number[],
  kernel: readonly number[],
  { strides, dilations, pads, reach }: ReturnType<typeof poolingWindows>,
  isPaddingCounted: boolean,
) {
  const along = plane.map((size, axis) => {
    const [begin, end] = [pads[axis], pads[axis + plane.length]];
    const [low, high] = isPaddingCounted ? [-begin, size + end] : [0, size];
    const padded = size + reach[axis] + reach[axis + plane.length];
    const windows = Math.floor((padded - extent(kernel[axis], dilations[axis])) / strides[axis]) + 1;
    requireRoom(windows * kernel[axis]);
    return upTo(Math.max(0, windows)).map((window) => {
      const first = window * strides[axis] - begin;
      const taps = upTo(kernel[axis]).map((tap) => first + tap * dilations[axis]);
      return taps.filter((at) => at >= low && at < high).length;
    });
  });
  requireRoom(along.reduce((count, { length }) => count * length, 1));
  const counts = along.reduce<number[]>(
    (outer, axis) => outer.flatMap((count) => axis.map((next) => count * next)),
    [1],
  );
  return tableOf([1, 1, ...along.map(({ length }) => length)], counts);
}

/** Sums of dilated windows: a convolution of each channel by itself with ones. */
function dilatedSums(operands: Operands, x: ValueId, kernel: readonly number[], windows: WindowAttributes): ValueId {
  const { to, reshape } = operands;
  const [samples, channels, ...plane] = to.shapeOf(x);
  const apart = reshape(x, [samples * channels, 1, ...plane]);
  const ones = to.emit("Expand", [to.constant(1)], { shape: [1, 1, ...kernel] });
  const sums = to.emit("Conv", [apart, ones], { ...windows, group: 1 });
  return reshape(sums, [samples, channels, ...to.shapeOf(sums).slice(2)]);
}

const averagePool: Operation = (operands) => {
  const { to, attributes, value, table } = operands;
  const { div, mul, number } = writing(to);
  const kernel = kernelOf(operands);
  const plane = to.shapeOf(value(0)).slice(2);
  const windows = poolingWindows(operands, plane, kernel);
  const { strides, dilations, pads, reach } = windows;
  const isPaddingCounted = intAttribute(attributes, "count_include_pad", 0) !== 0;
  const isDilated = dilations.some((step) => step !== 1);
  const pooled = (count_include_pad: boolean): ValueId =>
    to.emit("AveragePool", [value(0)], { kernel_shape: kernel, strides, pads: reach, count_include_pad });
  // What lies beyond the padding never counts, which the IR's padding cannot say.
  const isBeyond = reach.some((size, at) => size !== pads[at]);
  if (!isDilated && !(isBeyond && isPaddingCounted)) return pooled(isPaddingCounted);
  const sums = isDilated
    ? dilatedSums(operands, value(0), kernel, { strides, dilations, pads: reach })
    : mul(pooled(true), number(sizeOf(kernel)));
  return div(sums, table(counted(plane, kernel, windows, isPaddingCounted)));
};

export const windowOperations: Readonly<Record<string, Operation>> = {
  AveragePool: averagePool,
  Conv: conv,
  ConvTranspose: convTranspose,
  MaxPool: maxPool,
};
