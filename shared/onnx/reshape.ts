/**
 * Shapes of an exporter as shapes that go with the batch. An export with a batch of fixed size has that size written in its
 * constants, where it must become N again; and the IR's Reshape says N by copying a size, or by −1.
 */

import { GraphError } from "../graph/error.ts";
import type { Dimension } from "../graph/ir.ts";
import { broadcast, sizeOf } from "../graph/tensor.ts";
import { TRACE_BATCH } from "../nn/module.ts";
import { isBatch, targetShape } from "./folding.ts";

const show = (shape: readonly number[]): string =>
  `[${shape.map((size) => (size === TRACE_BATCH ? "N" : isBatch(size) ? `N·${size / TRACE_BATCH}` : size)).join(", ")}]`;

/** A shape, and where the batch lies within the axis that goes with it: how many times N lies there one after another. */
export interface Placed {
  readonly shape: readonly number[];
  readonly major: number;
}

/** Where N lies in row-major order: the product of what is before it. */
const before = (shape: readonly number[], axis: number, major: number): number => sizeOf(shape.slice(0, axis)) * major;

/** What `major` is for a value in another shape, whose batch lies where it lay. */
export function majorOf({ shape: from, major }: Placed, shape: readonly number[]): number {
  const [old, axis] = [from.findIndex(isBatch), shape.findIndex(isBatch)];
  if (old < 0 || axis < 0) return 1;
  const within = before(from, old, major) / sizeOf(shape.slice(0, axis));
  return Number.isInteger(within) ? Math.max(1, within) : 1;
}

/**
 * The whole shape, with N bound to TRACE_BATCH, that Reshape means by `list`. An export with a fixed batch has written it into
 * the list, where it is found again by its place in row-major order. In a batch of 1 that may be one of several axes: one of
 * size 1 then; or the same axis, if there are as many as before ([positions, batch·heads, features]); or else the first, as rows
 * are meant ([positions·batch, features]). Throws GraphError `shape`.
 * @param exported the fixed batch of the export, null where it was left open
 */
export function reshapedTo(from: Placed, list: readonly number[], allowZero: boolean, exported: number | null): Placed {
  const copied = list.map((size, axis) => (size === 0 && !allowZero ? (from.shape[axis] ?? 0) : size));
  const axis = from.shape.findIndex(isBatch);
  if (axis < 0 || exported === null || copied.some(isBatch)) {
    const shape = targetShape(from.shape, list, allowZero);
    return { shape, major: majorOf(from, shape) };
  }
  const fixed = from.shape.map((size) => (isBatch(size) ? (size / TRACE_BATCH) * exported : size));
  const target = targetShape(fixed, list, allowZero);
  const wanted = before(from.shape, axis, from.major);
  const places = target.flatMap((size, at) => {
    const major = wanted / sizeOf(target.slice(0, at));
    return Number.isInteger(major) && major > 0 && size > 0 && size % (major * exported) === 0 ? [{ at, major }] : [];
  });
  const own = places.filter(({ at, major }) => target[at] === exported && major === 1);
  const isSameRank = target.length === from.shape.length;
  const same = places.find(({ at, major }) => isSameRank && at === axis && major === 1);
  const place = own.find(({ at }) => at === axis) ?? own[0] ?? same ?? places[0];
  if (place === undefined) {
    throw new GraphError(
      "shape",
      `${show(from.shape)} is reshaped to [${list.join(", ")}], made for a batch of ${exported}: export it with dynamic_axes={"x": {0: "batch"}}`,
    );
  }
  const shape = target.map((size, at) => (at === place.at ? (size / exported) * TRACE_BATCH : size));
  return { shape, major: place.major };
}

/** The attribute of the IR's Reshape for a whole shape. Throws GraphError `shape` where two sizes go with the batch. */
export function reshapeAttribute(from: readonly number[], to: readonly number[]): number[] {
  if (to.filter(isBatch).length > 1) {
    throw new GraphError("shape", `${show(to)} goes with the batch along two axes`);
  }
  return to.map((size, axis) => (!isBatch(size) ? size : from[axis] === size ? 0 : -1));
}

/** The attribute of the IR's Expand for what a value becomes beside a list of sizes. Throws GraphError `shape`. */
export function expandAttribute(
  from: readonly number[],
  list: readonly number[],
  exported: number | null,
): readonly Dimension[] {
  const missing = list.length - from.length;
  const bound = list.map((size, axis) => (size === exported && isBatch(from[axis - missing] ?? 0) ? 1 : size));
  const shape = broadcast(from, bound);
  if (shape === null) throw new GraphError("shape", `${show(from)} does not broadcast to [${list.join(", ")}]`);
  return shape.map((size) => {
    if (size === TRACE_BATCH) return "N";
    if (isBatch(size)) throw new GraphError("shape", `${show(shape)} is a multiple of the batch along one axis`);
    return size;
  });
}
