/** Gradients by central differences in float64: the check on automatic differentiation. */

import { differentiate, type Graph, runReference } from "../../../shared/graph/index.ts";
import { parameterLength } from "../../../shared/graph/parameters.ts";
import { sizeOf } from "../../../shared/graph/tensor.ts";

export interface Sample {
  readonly microBatch: number;
  readonly inputs: Readonly<Record<string, ArrayLike<number>>>;
  readonly weights: Float64Array;
}

/** ‖a − b‖ / max(‖b‖, tiny) */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let at = 0; at < b.length; at++) {
    difference += (a[at] - b[at]) ** 2;
    norm += b[at] ** 2;
  }
  return Math.sqrt(difference) / Math.max(Math.sqrt(norm), 1e-12);
}

/** The flat gradient that `differentiate` computes. */
export function automaticGradient(graph: Graph, { microBatch, inputs, weights }: Sample): Float64Array {
  const training = differentiate(graph, microBatch);
  const values = runReference(training, microBatch, inputs, weights);
  const flat = new Float64Array(parameterLength(graph));
  for (const [index, gradient] of training.gradients.entries()) {
    if (gradient !== null) flat.set(values[gradient], training.parameters[index].offset);
  }
  return flat;
}

export function numericGradient(graph: Graph, { microBatch, inputs, weights }: Sample): Float64Array {
  const lossAt = (shifted: Float64Array): number =>
    runReference(graph, microBatch, inputs, shifted)[graph.outputs.loss][0];
  const flat = new Float64Array(parameterLength(graph));
  const step = 1e-5;
  for (const { offset, shape } of graph.parameters) {
    for (let at = offset; at < offset + sizeOf(shape); at++) {
      const shifted = weights.slice();
      shifted[at] = weights[at] + step;
      const above = lossAt(shifted);
      shifted[at] = weights[at] - step;
      flat[at] = (above - lossAt(shifted)) / (2 * step);
    }
  }
  return flat;
}
