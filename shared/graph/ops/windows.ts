/** How the windows of convolutions and pooling lie over spatial axes: one geometry for both, in any number of axes. */

import * as v from "valibot";
import type { WindowAttributes } from "../ir.ts";
import { sizeOf } from "../tensor.ts";
import { shapeError, show } from "./definition.ts";

export interface Windows {
  /** Sizes of the plane that the windows lie over. */
  readonly plane: readonly number[];
  /** Elements of a window along each axis, its taps. */
  readonly kernel: readonly number[];
  /** Windows along each axis. */
  readonly count: readonly number[];
  readonly strides: readonly number[];
  /** Padding before the plane. */
  readonly begins: readonly number[];
  readonly dilations: readonly number[];
}

/** Most spatial axes. */
export const MAX_SPATIAL = 2;

const integer = v.pipe(v.number(), v.integer(), v.maxValue(2 ** 16));
const row = (least: number, lengths: number) =>
  v.pipe(v.array(v.pipe(integer, v.minValue(least))), v.maxLength(lengths));

export const positives = row(1, MAX_SPATIAL);
export const naturals = row(0, MAX_SPATIAL);
export const positive = v.pipe(integer, v.minValue(1));

/** Schemas of the attributes that all ops with windows have. */
export const windowEntries = { strides: positives, pads: row(0, 2 * MAX_SPATIAL), dilations: positives };

/** Throws unless there are as many numbers of each kind as spatial axes. */
export function requireSpatial(shape: readonly number[], given: Readonly<Record<string, readonly number[]>>): void {
  const axes = shape.length - 2;
  if (axes < 1 || axes > MAX_SPATIAL) {
    throw shapeError(`expected input [N, channels, …] with 1 to ${MAX_SPATIAL} spatial axes, got ${show(shape)}`);
  }
  for (const [name, numbers] of Object.entries(given)) {
    const expected = name === "pads" ? 2 * axes : axes;
    if (numbers.length !== expected) {
      throw shapeError(`${name} has ${numbers.length} numbers, expected ${expected} for input ${show(shape)}`);
    }
  }
}

/** Elements from a window's first tap to its last. */
export const extent = (kernel: number, dilation: number): number => dilation * (kernel - 1) + 1;

/** Windows over a plane. Throws GraphError `shape` if none fits in along an axis. */
export function windowsOver(
  plane: readonly number[],
  kernel: readonly number[],
  { strides, pads, dilations }: WindowAttributes,
): Windows {
  const begins = pads.slice(0, plane.length);
  const count = plane.map((size, axis) => {
    const padded = size + begins[axis] + pads[axis + plane.length];
    const needed = extent(kernel[axis], dilations[axis]);
    if (needed > padded) {
      throw shapeError(
        `nothing is left of spatial sizes ${show(plane)}: a window takes ${needed} elements, with padding there are ${padded}`,
      );
    }
    return Math.floor((padded - needed) / strides[axis]) + 1;
  });
  return { plane, kernel, count, strides, begins, dilations };
}

/** Row-major indices of a window, of one of its taps, and of the element of the plane that lies there. */
export interface Tap {
  readonly window: number;
  readonly tap: number;
  readonly element: number;
}

/** Every tap that is not padding; those of one window in row-major order. */
export function tapsOf({ plane, kernel, count, strides, begins, dilations }: Windows): readonly Tap[] {
  let taps: readonly Tap[] = [{ window: 0, tap: 0, element: 0 }];
  for (const [axis, size] of plane.entries()) {
    const along: Tap[] = [];
    for (let window = 0; window < count[axis]; window++) {
      for (let tap = 0; tap < kernel[axis]; tap++) {
        const element = window * strides[axis] - begins[axis] + tap * dilations[axis];
        if (element >= 0 && element < size) along.push({ window, tap, element });
      }
    }
    taps = taps.flatMap((outer) =>
      along.map(({ window, tap, element }) => ({
        window: outer.window * count[axis] + window,
        tap: outer.tap * kernel[axis] + tap,
        element: outer.element * size + element,
      })),
    );
  }
  return taps;
}

/** The same geometry with its sizes as element counts. */
export const sizesOf = ({ plane, kernel, count }: Windows) => ({
  plane: sizeOf(plane),
  kernel: sizeOf(kernel),
  count: sizeOf(count),
});
