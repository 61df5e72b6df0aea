/** What tells a transformer where in the sequence a vector is: a row a position, added to it. */

import { GraphError } from "../graph/error.ts";
import type { ValueId } from "../graph/ir.ts";
import type { GraphWriter, Module } from "./module.ts";
import { requireSize, showRow } from "./sizes.ts";

function positions(
  kind: string,
  length: number,
  embeddingDim: number,
  table: (to: GraphWriter, shape: readonly number[]) => ValueId,
): Module {
  requireSize(`${kind}'s length`, length);
  requireSize(`${kind}'s size`, embeddingDim);
  return {
    kind,
    build(to, input) {
      const shape = to.shapeOf(input);
      if (shape.length !== 3 || shape[1] !== length || shape[2] !== embeddingDim) {
        throw new GraphError(
          "shape",
          `layer ${to.path} (${kind}): expected input [N, ${length}, ${embeddingDim}], got ${showRow(shape)}`,
        );
      }
      return to.emit("Add", [input, table(to, [length, embeddingDim])], {});
    },
  };
}

/** [N, length, embeddingDim] plus a trained row for each position: `weight` [length, embeddingDim], normal with deviation `std`. */
export const learnedPositions = (length: number, embeddingDim: number, { std = 0.02 }: { std?: number } = {}): Module =>
  positions("learnedPositions", length, embeddingDim, (to, shape) =>
    to.parameter("weight", shape, { kind: "normal", std }),
  );

/**
 * [N, length, embeddingDim] plus sin(position / 10000^(2i/embeddingDim)) in column 2i and its cosine in column 2i + 1
 * (Attention Is All You Need, arXiv 1706.03762, 3.5). A buffer `pe`, as in PyTorch's tutorial: it is not trained.
 */
export const sinusoidalPositions = (length: number, embeddingDim: number): Module =>
  positions("sinusoidalPositions", length, embeddingDim, (to, shape) => to.buffer("pe", shape, { kind: "sinusoidal" }));
