/** The flat parameter space (invariant I6): offsets and its length. */

import type { Graph, ValueId } from "./ir.ts";
import { sizeOf } from "./tensor.ts";

/** Parameters start at multiples of 4 floats: 16 bytes. */
export const ALIGNMENT = 4;

export const alignUp = (floats: number): number => Math.ceil(floats / ALIGNMENT) * ALIGNMENT;

/** Length of the flat parameter array in floats, padding included. */
export function parameterLength({ parameters }: Pick<Graph, "parameters">): number {
  return parameters.reduce((end, { offset, shape }) => Math.max(end, alignUp(offset + sizeOf(shape))), 0);
}

/** The graph's tables in the order in which they travel, with the number of their elements. */
export const tableSizes = ({ outputs }: Pick<Graph, "outputs">): { name: string; value: ValueId; elements: number }[] =>
  Object.entries(outputs.tables ?? {})
    .map(([name, { value, shape }]) => ({ name, value, elements: sizeOf(shape) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));

/** How many sums besides loss and weight an evaluation comes to: the metrics, then every element of the tables. */
export const evaluationSums = (graph: Pick<Graph, "outputs">): number =>
  tableSizes(graph).reduce((sum, { elements }) => sum + elements, metricNames(graph).length);

/** Names of the graph's metrics in the order in which they travel. */
export const metricNames = ({ outputs }: Pick<Graph, "outputs">): string[] => Object.keys(outputs.metrics).sort();
