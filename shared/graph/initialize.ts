/** First values of the parameters, from the session's seed alone (invariant I2). */

import { deriveKey, threefry2x32, uniformFloat } from "../random/index.ts";
import type { Graph, Parameter } from "./ir.ts";
import { parameterLength } from "./parameters.ts";
import { sizeOf } from "./tensor.ts";

/** sin(position / 10000^(2i/width)) in column 2i and the cosine in 2i + 1 (Attention Is All You Need, arXiv 1706.03762, 3.5). */
function wave(shape: readonly number[], element: number): number {
  const width = shape.at(-1) ?? 1;
  const column = element % width;
  const angle = Math.floor(element / width) * 10_000 ** (-(column - (column % 2)) / width);
  return column % 2 === 0 ? Math.sin(angle) : Math.cos(angle);
}

type Drawn = Exclude<Parameter["init"], { kind: "given" }>;

/** Value of one element from its two random words, by kind of initializer. */
function draw(
  { init, shape }: { readonly init: Drawn; readonly shape: readonly number[] },
  words: Uint32Array,
  element: number,
): number {
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
    case "sinusoidal":
      return wave(shape, element);
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
      weights[offset + element] = draw({ init, shape }, words, element);
    }
  }
  return weights;
}
