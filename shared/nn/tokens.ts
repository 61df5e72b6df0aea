/** Sequences of unequal length, padded to one: which tokens count, and one vector out of those that do. */

import { GraphError } from "../graph/error.ts";
import type { ValueId } from "../graph/ir.ts";
import type { GraphWriter, Module } from "./module.ts";
import { showRow } from "./sizes.ts";

/** [N, T, 1]: 1 where the int32 input `name` [N, T] is 0, else 0. Throws GraphError naming the layer unless there is such an input. */
export function unpadded(to: GraphWriter, kind: string, name: string, length: number): ValueId {
  const mask = to.input(name);
  const shape = to.shapeOf(mask);
  if (to.dtypeOf(mask) !== "int32" || shape.length !== 2 || shape[1] !== length) {
    throw new GraphError(
      "shape",
      `layer ${to.path} (${kind}): the padding mask ${name} is ${to.dtypeOf(mask)} ${showRow(shape)}, expected int32 [N, ${length}]`,
    );
  }
  return to.emit("OneHot", [mask], { depth: 1 });
}

/**
 * [N, T, E] → [N, E]: the mean over the tokens that are no padding, and zeros where all are.
 * @param options `paddingMask` names an int32 input [N, T], as for attention: tokens where it is not 0 do not count
 */
export function meanOverTokens({ paddingMask }: { readonly paddingMask?: string } = {}): Module {
  const kind = "meanOverTokens";
  return {
    kind,
    build(to, input) {
      const shape = to.shapeOf(input);
      if (shape.length !== 3) {
        throw new GraphError("shape", `layer ${to.path} (${kind}): expected input [N, T, E], got ${showRow(shape)}`);
      }
      if (paddingMask === undefined) {
        const sum = to.emit("ReduceSum", [input], { axes: [1], keepdims: false });
        return to.emit("Mul", [sum, to.constant(1 / shape[1])], {});
      }
      const seen = unpadded(to, kind, paddingMask, shape[1]); // [N, T, 1]
      const sum = to.emit("ReduceSum", [to.emit("Mul", [input, seen], {})], { axes: [1], keepdims: false }); // [N, E]
      const count = to.emit("ReduceSum", [seen], { axes: [1], keepdims: false }); // [N, 1]
      return to.emit("Div", [sum, to.emit("Max", [count, to.constant(1)], {})], {});
    },
  };
}
