/**
 * Counts of held-out samples in tables, each a sum over the micro-batch: which class was taken for which, and how scores of
 * two classes lie (what the area under the ROC curve is made of). See shared/session/tables.ts for what becomes of them.
 */

import { GraphError } from "../../graph/error.ts";
import type { ValueId } from "../../graph/ir.ts";
import { ROC_EDGES } from "../../session/tables.ts";
import type { GraphWriter } from "../module.ts";
import { isPositive, mul, sub } from "./sums.ts";

/** What a loss of classes can count. */
export type ClassTable = "confusion" | "auc";

/** Most classes of a confusion matrix: what a person can still look at. */
const MOST_CLASSES = 32;

const columns = (to: GraphWriter, value: ValueId, count: number): ValueId =>
  to.emit("Reshape", [value], { shape: [-1, count] });

/** Elements [N, ..., classes] times their sample's weight [N]. */
export function weighted(to: GraphWriter, elements: ValueId, weight: ValueId): ValueId {
  const shape = to.shapeOf(elements).map((_, axis) => (axis === 0 ? 0 : 1));
  return mul(to, elements, to.emit("Reshape", [weight], { shape }));
}

/** Rows of two classes [M, 2] from the elements of each. */
export const pairs = (to: GraphWriter, first: ValueId, second: ValueId): ValueId =>
  to.emit("Concat", [columns(to, first, 1), columns(to, second, 1)], { axis: 1 });

/** Rows of two classes [M, 2]: 1 − p and p of each element. */
export const yesAndNo = (to: GraphWriter, p: ValueId): ValueId => pairs(to, sub(to, to.constant(1), p), p);

/**
 * [classes, classes]: how many of the row's class were taken for the column's.
 * @param target rows of zeros and ones times weights, [N, ..., classes]
 * @param predicted rows of zeros and ones, [N, ..., classes]
 */
export function confusionOf(to: GraphWriter, target: ValueId, predicted: ValueId, kind: string): ValueId {
  const classes = to.shapeOf(target).at(-1) ?? 0;
  if (classes > MOST_CLASSES) {
    throw new GraphError(
      "attribute",
      `${kind}'s confusion would have ${classes} classes, the limit is ${MOST_CLASSES}`,
    );
  }
  const rows = [target, predicted].map((value) => columns(to, value, classes));
  return to.emit("Gemm", rows, { transA: true, transB: false });
}

/**
 * [2, edges]: how many of each class score above each edge of the bins.
 * @param target as above, of two classes
 * @param score of the second class against the first, as a logit or as a probability: one for each row of `target`
 */
export function rocOf(to: GraphWriter, target: ValueId, score: ValueId, unit: keyof typeof ROC_EDGES): ValueId {
  const edges = to.emit("ConstantVector", [], { values: ROC_EDGES[unit] });
  const above = isPositive(to, sub(to, columns(to, score, 1), edges)); // [M, edges]
  return to.emit("Gemm", [columns(to, target, 2), above], { transA: true, transB: false });
}
