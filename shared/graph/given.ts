/**
 * First values that do not follow from the seed: of an imported model, or of a file of weights. A graph is plain text, and
 * megabytes of numbers have no place in it, so the values stay in memory beside the initializers that stand for them, until
 * whoever sends the graph sends them as one array.
 */

import { GraphError } from "./error.ts";
import type { Graph, Initializer } from "./ir.ts";
import { parameterLength } from "./parameters.ts";
import { sizeOf } from "./tensor.ts";

const HELD = new WeakMap<Initializer, Float32Array>();

/** An initializer that stands for these values, row-major. */
export function given(values: Float32Array): Initializer {
  const init: Initializer = { kind: "given" };
  HELD.set(init, values);
  return init;
}

/** Whether some first values must come along with the graph. */
export const needsGiven = ({ parameters }: Pick<Graph, "parameters">): boolean =>
  parameters.some(({ init }) => init.kind === "given");

/**
 * The given values in the flat parameter space, zero elsewhere; null where all follow from the seed. Throws GraphError
 * `structure` where values got lost, as in a graph that was text meanwhile, or are not finite.
 */
export function givenWeights(graph: Pick<Graph, "parameters">): Float32Array<ArrayBuffer> | null {
  if (!needsGiven(graph)) return null;
  const weights = new Float32Array(parameterLength(graph));
  for (const { name, shape, offset, init } of graph.parameters) {
    if (init.kind !== "given") continue;
    const values = HELD.get(init);
    if (values === undefined || values.length !== sizeOf(shape)) {
      throw new GraphError("structure", `the values of parameter ${name} are not at hand: build the graph anew`);
    }
    weights.set(values, offset);
  }
  requireFinite(weights, graph);
  return weights;
}

/** Throws GraphError `structure` naming the parameter that has a value that is not finite. */
export function requireFinite(weights: Float32Array, graph: Pick<Graph, "parameters">): void {
  const at = weights.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return;
  const holder = graph.parameters.find(({ offset, shape }) => at >= offset && at < offset + sizeOf(shape));
  throw new GraphError("structure", `a value of parameter ${holder?.name ?? "(padding)"} is not finite`);
}
