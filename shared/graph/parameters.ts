/** The flat parameter space (invariant I6): offsets and its length. */

import type { Graph } from "./ir.ts";
import { sizeOf } from "./tensor.ts";

/** Parameters start at multiples of 4 floats: 16 bytes. */
export const ALIGNMENT = 4;

export const alignUp = (floats: number): number => Math.ceil(floats / ALIGNMENT) * ALIGNMENT;

/** Length of the flat parameter array in floats, padding included. */
export function parameterLength({ parameters }: Pick<Graph, "parameters">): number {
  return parameters.reduce((end, { offset, shape }) => Math.max(end, alignUp(offset + sizeOf(shape))), 0);
}

/** Names of the graph's metrics in the order in which they travel. */
export const metricNames = ({ outputs }: Pick<Graph, "outputs">): string[] => Object.keys(outputs.metrics).sort();
