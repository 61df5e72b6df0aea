/** First values of the parameters, from the session's seed alone (invariant I2). */

import { deriveKey, threefry2x32, uniformFloat } from "../random/index.ts";
import type { Graph, Parameter } from "./ir.ts";
import { parameterLength } from "./parameters.ts";
import { sizeOf } from "./tensor.ts";

/** Value of one element from its two random words, by kind of initializer. */
function draw(init: Exclude<Parameter["init"], { kind: "given" }>, words: Uint32Array): number {
  switch (init.kind) {
    case "uniform":
      return (2 * uniformFloat(words[0]) - 1) * init.bound;
    case "normal": {
      // Box and Muller; 1 − u is in (0, 1].
      const radius = Math.sqrt(-2 * Math.log(1 - uniformFloat(words[0])));
      return init.std * radius * Math.cos(2 * Math.PI * uniformFloat(words[1]));
    }
    case "constant":
      return init.value;
    default:
      return init satisfies never;
  }
}

/**
 * First weights: a function of the seed, the parameter's number and the element alone (invariant I2). Padding is zero.
 * @param given flat values of the parameters whose first values do not follow from the seed; zero where there are none
 */
export function initialize(
  graph: Pick<Graph, "parameters">,
  seed: number,
  given: Float32Array | null = null,
): Float32Array<ArrayBuffer> {
  const weights = new Float32Array(parameterLength(graph));
  const words = new Uint32Array(2);
  for (const [index, { shape, offset, init }] of graph.parameters.entries()) {
    if (init.kind === "given") {
      if (given !== null) weights.set(given.subarray(offset, offset + sizeOf(shape)), offset);
      continue;
    }
    const [k0, k1] = deriveKey(seed, "initialization", index);
    for (let element = 0; element < sizeOf(shape); element++) {
      threefry2x32(k0, k1, element, 0, words);
      weights[offset + element] = draw(init, words);
    }
  }
  return weights;
}
