/** The flat parameter space (invariant I6): offsets, its length, and first values from the seed. */

import { deriveKey, threefry2x32, uniformFloat } from "../random/index.ts";
import type { Graph, Parameter } from "./ir.ts";
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

/** Value of one element from its two random words, by kind of initializer. */
function draw({ init }: Parameter, words: Uint32Array): number {
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

/** First weights: a function of the seed, the parameter's number and the element alone (invariant I2). Padding is zero. */
export function initialize(graph: Pick<Graph, "parameters">, seed: number): Float32Array<ArrayBuffer> {
  const weights = new Float32Array(parameterLength(graph));
  const words = new Uint32Array(2);
  for (const [index, parameter] of graph.parameters.entries()) {
    const [k0, k1] = deriveKey(seed, "initialization", index);
    for (let element = 0; element < sizeOf(parameter.shape); element++) {
      threefry2x32(k0, k1, element, 0, words);
      weights[parameter.offset + element] = draw(parameter, words);
    }
  }
  return weights;
}
