/** Sizes that layers are given, and shapes as their errors show them. */

import { GraphError } from "../graph/error.ts";

export function requireSize(what: string, size: number): void {
  if (!Number.isInteger(size) || size < 1)
    throw new GraphError("attribute", `${what} is ${size}, expected a positive integer`);
}

/** A shape whose first axis is the micro-batch. */
export const showRow = (shape: readonly number[]): string =>
  `[N${shape
    .slice(1)
    .map((size) => `, ${size}`)
    .join("")}]`;
