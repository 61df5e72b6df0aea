/**
 * Convolutions and pooling. Convolutions have kernels of their own (convolution.ts); pooling reduces over what the taps of
 * windows lie on. Backward passes gather, too: each element of the plane asks the windows that it is in, so that nothing has
 * to be added atomically.
 */

import type { OpAttributes, PoolAttributes } from "../../../shared/graph/ir.ts";
import { convolutionWindows, transposedWindows } from "../../../shared/graph/ops/convolution.ts";
import { poolWindows } from "../../../shared/graph/ops/pooling.ts";
import { extent, type Windows } from "../../../shared/graph/ops/windows.ts";
import { sizeOf, type TensorType } from "../../../shared/graph/tensor.ts";
import { type Convolution, partsOf } from "./convolution.ts";
import { type Coordinate, single } from "./coordinates.ts";
import type { Lowering, Position, Shape, Value } from "./values.ts";

/** −3.4e38, below which there is no float32. */
const LOWEST = "-3.4028234663852886e38f";

/** Where one tap of one window lies along an axis. */
type Along = (windows: Windows, axis: number, at: Coordinate, tap: Coordinate) => Position;

/** Element of the plane under a tap of window `at`. */
const elementUnder: Along = ({ strides, begins, dilations, plane, kernel, count }, axis, at, tap) => {
  const [stride, begin, dilation] = [strides[axis], begins[axis], dilations[axis]];
  const last = (count[axis] - 1) * stride + (kernel[axis] - 1) * dilation - begin;
  return {
    text: `i32(${single(at)}) * ${stride} + i32(${single(tap)}) * ${dilation} - ${begin}`,
    divisor: 1,
    inside: begin === 0 && last < plane[axis],
  };
};

/** The window whose tap lies on element `at` of the plane. */
const windowOver: Along = ({ strides, begins, dilations }, axis, at, tap) => ({
  text: `i32(${single(at)}) + ${begins[axis]} - i32(${single(tap)}) * ${dilations[axis]}`,
  divisor: strides[axis],
  inside: false,
});

const nameOf = ({ plane, kernel, count, strides, begins, dilations }: Windows): string =>
  [plane, kernel, count, strides, begins, dilations].join("|");

/** The kernel's axes of a shape that ends with them. */
const lastAxes = (shape: Shape, count: number): number[] => shape.map((_, axis) => axis).slice(-count);

/** Σ over channels of a group and taps of x·w, for each window or, of the adjoint, for each element of the plane. */
function convolve(
  to: Lowering,
  x: Value,
  w: Value,
  windows: Windows,
  group: number,
  direction: Convolution["direction"],
): Value {
  const form = { windows, direction, samples: x.shape[0], outputs: w.shape[0], channels: w.shape[1], group };
  return to.convolution(x, w, { ...form, parts: partsOf(form, to.tuning) });
}

/** y + bias [channels] along axis 1. */
function addBias(to: Lowering, y: Value, bias: Value | undefined): Value {
  if (bias === undefined) return y;
  const column = to.reshape(bias, [...bias.shape, ...y.shape.slice(2).map(() => 1)]);
  return to.map("Add", y.shape, [y, column], (a, b) => `${a} + ${b}`);
}

export function conv(
  to: Lowering,
  [x, w, bias]: readonly Value[],
  { group, ...attributes }: OpAttributes["Conv"],
): Value {
  const windows = convolutionWindows(x.shape, w.shape, attributes);
  return addBias(to, convolve(to, x, w, windows, group, "under"), bias);
}

export function convTranspose(
  to: Lowering,
  [x, w, bias]: readonly Value[],
  { group, ...attributes }: OpAttributes["ConvTranspose"],
): Value {
  const windows = transposedWindows(x.shape, w.shape, attributes);
  return addBias(to, convolve(to, x, swapWeights(to, w, group), windows, group, "over"), bias);
}

/** [C, M/group, …] → [M, C/group, …], group by group. */
function swapWeights(to: Lowering, w: Value, group: number): Value {
  const [channels, outputs, ...kernel] = w.shape;
  const axes = kernel.map((_, axis) => axis);
  if (group === 1) return to.transpose(w, [1, 0, ...axes.map((axis) => axis + 2)]);
  const split = to.reshape(w, [group, channels / group, outputs, ...kernel]);
  const swapped = to.transpose(split, [0, 2, 1, ...axes.map((axis) => axis + 3)]);
  return to.reshape(swapped, [group * outputs, channels / group, ...kernel]);
}

/** The taps of every window: [N, C, …count, …kernel]. */
function tapsOf(to: Lowering, x: Value, windows: Windows, outside: string): Value {
  const { count, kernel } = windows;
  const shape = [...x.shape.slice(0, 2), ...count, ...kernel];
  return to.gather(
    `taps ${nameOf(windows)}`,
    x,
    shape,
    ([sample, channel, ...rest]) => [
      sample,
      channel,
      ...count.map((_, axis) => elementUnder(windows, axis, rest[axis], rest[count.length + axis])),
    ],
    outside,
  );
}

/** [N, C, …count, 1, …] → [N, C, …count] */
const withoutTaps = (to: Lowering, value: Value, spatial: number): Value =>
  to.reshape(value, value.shape.slice(0, 2 + spatial));

/** Row-major number of the tap, of values whose last axes are the kernel's. */
function tapNumber(to: Lowering, shape: Shape, kernel: Shape): Value {
  const axes = lastAxes(shape, kernel.length).map((axis) => to.coordinate(shape, axis));
  return to.map(`tap ${kernel}`, shape, axes, (...at) =>
    at.reduce((number, next, axis) => `(${number} * ${kernel[axis]} + ${next})`, "T(0)"),
  );
}

export function maxPool(to: Lowering, [x]: readonly Value[], attributes: PoolAttributes): Value {
  const windows = poolWindows(x.shape, attributes);
  const { length } = windows.kernel;
  to.exact.add(x);
  const taps = tapsOf(to, x, windows, LOWEST);
  return withoutTaps(to, to.reduce(taps, lastAxes(taps.shape, length), "max"), length);
}

export function maxPoolGrad(to: Lowering, [x, dy]: readonly Value[], attributes: PoolAttributes): Value {
  const windows = poolWindows(x.shape, attributes);
  const { plane, kernel } = windows;
  to.exact.add(x);
  to.exact.add(dy);
  const taps = tapsOf(to, x, windows, LOWEST);
  const axes = lastAxes(taps.shape, kernel.length);
  const none = `T(${sizeOf(kernel)}f)`;
  // The first tap that is the largest.
  const first = to.reduce(
    to.map(
      `first ${kernel}`,
      taps.shape,
      [taps, to.reduce(taps, axes, "max"), tapNumber(to, taps.shape, kernel)],
      (value, most, tap) => `select(${none}, ${tap}, ${value} == ${most})`,
    ),
    axes,
    "min",
  );
  const winner = withoutTaps(to, first, kernel.length);
  to.exact.add(winner);

  if (windows.strides.every((stride, axis) => stride >= extent(kernel[axis], windows.dilations[axis]))) {
    return sharesOfOwn(to, x.shape, windows, dy, winner);
  }
  const shape = [...x.shape, ...kernel];
  const ask = (value: Value): Value =>
    to.gather(`windows ${nameOf(windows)}`, value, shape, ([sample, channel, ...rest]) => [
      sample,
      channel,
      ...plane.map((_, axis) => windowOver(windows, axis, rest[axis], rest[plane.length + axis])),
    ]);
  const shares = to.map(
    "share",
    shape,
    [ask(dy), ask(winner), tapNumber(to, shape, kernel)],
    (gradient, won, tap) => `select(T(0), ${gradient}, ${won} == ${tap})`,
  );
  return to.reshape(to.reduce(shares, lastAxes(shape, kernel.length), "sum"), x.shape);
}

/** Windows that do not overlap: an element asks the only one that it can be in whether it is that one's winner. */
function sharesOfOwn(to: Lowering, shape: Shape, windows: Windows, dy: Value, winner: Value): Value {
  const { strides, begins, dilations, kernel, count } = windows;
  const ask = (value: Value): Value =>
    to.gather(`own window ${nameOf(windows)}`, value, shape, ([sample, channel, ...rest]) => [
      sample,
      channel,
      ...count.map(
        (_, axis): Position => ({
          text: `i32((${single(rest[axis])} + ${begins[axis]}u) / ${strides[axis]}u)`,
          divisor: 1,
          inside: false,
        }),
      ),
    ]);
  const axes = kernel.map((_, axis) => to.coordinate(shape, axis + 2));
  // Where an element lies between taps or windows its number is that of no tap.
  const own = to.map(`own tap ${nameOf(windows)}`, shape, axes, (...at) =>
    at
      .map((place, axis) => {
        const within = `((${place} + T(${begins[axis]}f)) % T(${strides[axis]}f))`;
        return { tap: `floor(${within} / T(${dilations[axis]}f))`, within, axis };
      })
      .reduce(
        (number, { tap, within, axis }) =>
          `select(T(-${sizeOf(kernel)}f), ${number} * ${kernel[axis]} + ${tap}, ${within} <= T(${extent(kernel[axis], dilations[axis]) - 1}f) && ${tap} * T(${dilations[axis]}f) == ${within})`,
        "T(0)",
      ),
  );
  return to.map(
    "own share",
    shape,
    [ask(dy), ask(winner), own],
    (gradient, won, tap) => `select(T(0), ${gradient}, ${won} == ${tap})`,
  );
}

export function averagePool(
  to: Lowering,
  [x]: readonly Value[],
  { count_include_pad, ...attributes }: OpAttributes["AveragePool"],
  { shape }: TensorType,
): Value {
  const windows = poolWindows(x.shape, { ...attributes, dilations: attributes.strides.map(() => 1) });
  const { kernel, plane, strides, begins } = windows;
  to.exact.add(x);
  const taps = tapsOf(to, x, windows, "0f");
  const sum = withoutTaps(to, to.reduce(taps, lastAxes(taps.shape, kernel.length), "sum"), kernel.length);
  if (count_include_pad) {
    return to.map(`mean of ${sizeOf(kernel)}`, shape, [sum], (total) => `${total} / T(${sizeOf(kernel)}f)`);
  }
  const starts = plane.map((_, axis) => to.coordinate(shape, axis + 2));
  return to.map(`mean of ${nameOf(windows)}`, shape, [sum, ...starts], (total, ...at) => {
    const lengths = at.map((window, axis) => {
      const start = `(${window} * ${strides[axis]} - ${begins[axis]})`;
      return `(min(${start} + ${kernel[axis]}, T(${plane[axis]}f)) - max(${start}, T(0)))`;
    });
    return `${total} / (${lengths.join(" * ")})`;
  });
}
