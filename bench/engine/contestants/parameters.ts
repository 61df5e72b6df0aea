/**
 * Rivals' own layouts of the weights: each rival is given a parameter as its own layers would hold it, and its gradient is
 * brought back into the layout of PyTorch to be compared. Neither is timed.
 */

import { sizeOf } from "../../../shared/graph/index.ts";
import type { Problem } from "../workloads.ts";

/** Axes of ours by axis of theirs, after ours was seen as `shape`: an array of that shape, transposed. */
export interface RivalLayout {
  /** Ours, perhaps with an axis split up. */
  readonly shape: readonly number[];
  readonly perm: readonly number[];
  /** Theirs, where axes are joined after transposing. */
  readonly theirs?: readonly number[];
}

export interface RivalParameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Copies `values` of the given shape so that axis i of the result is axis perm[i]. */
function transpose(values: Float32Array, shape: readonly number[], perm: readonly number[]): Float32Array {
  const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  const result = new Float32Array(values.length);
  const index = perm.map(() => 0);
  for (let at = 0; at < values.length; at++) {
    let from = 0;
    for (const [axis, of] of perm.entries()) from += index[axis] * strides[of];
    result[at] = values[from];
    for (let axis = perm.length - 1; axis >= 0; axis--) {
      index[axis] += 1;
      if (index[axis] < shape[perm[axis]]) break;
      index[axis] = 0;
    }
  }
  return result;
}

/** Null: as ours is. */
export type RivalLayouts = (name: string, shape: readonly number[]) => RivalLayout | null;

/** The GPT's first two modules, embedding and positions, are tables of rows everywhere. */
const TABLES = ["0.weight", "1.weight"];

/** Linear layers as [in, out] instead of PyTorch's [out, in]. */
export const linearTransposed =
  ({ network }: Problem): RivalLayouts =>
  (name, shape) =>
    shape.length !== 2 || (network.kind === "gpt" && TABLES.includes(name)) ? null : { shape, perm: [1, 0] };

export function parametersFor({ graph, weights }: Problem, layouts: RivalLayouts): RivalParameter[] {
  return graph.parameters.map(({ name, shape, offset }) => {
    const values = weights.slice(offset, offset + sizeOf(shape));
    const layout = layouts(name, shape);
    if (layout === null) return { name, shape, values };
    const theirs = layout.theirs ?? layout.perm.map((axis) => layout.shape[axis]);
    return { name, shape: theirs, values: transpose(values, layout.shape, layout.perm) };
  });
}

/** Gradients of a rival's parameters, in their order, as our flat parameter space. */
export function flatGradient(
  { graph, weights }: Problem,
  layouts: RivalLayouts,
  gradients: readonly ArrayLike<number>[],
): Float32Array {
  const flat = new Float32Array(weights.length);
  for (const [index, { name, shape, offset }] of graph.parameters.entries()) {
    const values = Float32Array.from(gradients[index]);
    const layout = layouts(name, shape);
    if (layout === null) {
      flat.set(values, offset);
      continue;
    }
    const inverse = layout.perm.map((_, axis) => layout.perm.indexOf(axis));
    const theirs = layout.perm.map((axis) => layout.shape[axis]);
    flat.set(transpose(values, theirs, inverse), offset);
  }
  return flat;
}
