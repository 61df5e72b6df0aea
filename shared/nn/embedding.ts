/** Tables of vectors by token. */

import { GraphError } from "../graph/error.ts";
import type { Module } from "./module.ts";
import { requireSize } from "./sizes.ts";

/**
 * Token indices [N, …] (int32) → [N, …, embeddingDim]: rows of `weight` [numEmbeddings, embeddingDim], which starts normal
 * with deviation 1 as in PyTorch, or `std`. An index outside the table, such as −1 for padding, gives zeros and no gradient.
 * A session says that its tokens are integers: `input: { x: { dtype: "int32", shape: [64] } }`.
 * https://pytorch.org/docs/stable/generated/torch.nn.Embedding.html
 */
export function embedding(numEmbeddings: number, embeddingDim: number, { std = 1 }: { std?: number } = {}): Module {
  requireSize("embedding's number of rows", numEmbeddings);
  requireSize("embedding's size", embeddingDim);
  const module: Module = {
    kind: "embedding",
    build(to, input) {
      if (to.dtypeOf(input) !== "int32") {
        throw new GraphError(
          "shape",
          `layer ${to.path} (embedding): expected int32 indices, got float32; say input: { x: { dtype: "int32", shape: […] } }`,
        );
      }
      const weight = to.own(module, to.parameter("weight", [numEmbeddings, embeddingDim], { kind: "normal", std }));
      return to.emit("Gather", [weight, input], {});
    },
  };
  return module;
}
