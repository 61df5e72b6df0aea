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

/**
 * The whole shape, with N bound to TRACE_BATCH, that Reshape means by `list`. Throws GraphError `shape`.
 * @param exported the fixed batch of the export, null where it was left open
 */
export function reshapedTo(
  from: readonly number[],
  list: readonly number[],
  allowZero: boolean,
  exported: number | null,
): number[] {
  const copied = list.map((size, axis) => (size === 0 && !allowZero ? (from[axis] ?? 0) : size));
  const axis = from.findIndex(isBatch);
  if (axis < 0 || exported === null || copied.some(isBatch)) return targetShape(from, list, allowZero);
  const fixed = from.map((size) => (isBatch(size) ? (size / TRACE_BATCH) * exported : size));
  const target = targetShape(fixed, list, allowZero);
  // Row-major: what comes before the batch's axis comes before it afterwards, too.
  const before = sizeOf(from.slice(0, axis));
  const place = target.findIndex(
    (size, at) => sizeOf(target.slice(0, at)) === before && size % exported === 0 && size > 0,
  );
  if (place < 0) {
    throw new GraphError(
      "shape",
      `${show(from)} is reshaped to [${list.join(", ")}], made for a batch of ${exported}: export it with dynamic_axes={"x": {0: "batch"}}`,
    );
  }
  return target.map((size, at) => (at === place ? (size / exported) * TRACE_BATCH : size));
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
