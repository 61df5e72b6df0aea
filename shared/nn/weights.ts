/** First weights by name, as a `state_dict` has them, instead of the seed's. */

import { GraphError } from "../graph/error.ts";
import { given } from "../graph/given.ts";
import type { Graph, Parameter } from "../graph/ir.ts";
import { sameShape } from "../graph/tensor.ts";

/** A tensor of a file of weights, row-major. */
export interface NamedTensor {
  readonly shape: readonly number[];
  /** Row-major. */
  readonly values: ArrayLike<number>;
}

/** Tensors by name, such as a `state_dict`. */
export type NamedTensors = ReadonlyMap<string, NamedTensor>;

/** Names that a complaint lists. */
const SHOWN = 5;

const listing = (names: readonly string[]): string =>
  names.length <= SHOWN ? names.join(", ") : `${names.slice(0, SHOWN).join(", ")} and ${names.length - SHOWN} more`;

/** Tied weights may be in the file under any of their names. */
function find({ name, aliases = [] }: Parameter, weights: NamedTensors): NamedTensor | undefined {
  const known = [name, ...aliases].find((candidate) => weights.has(candidate));
  return known === undefined ? undefined : weights.get(known);
}

/**
 * The graph with all of its parameters' first values taken from `weights`. Throws GraphError `structure` where a name is
 * missing or is not the model's, `shape` where a tensor has another shape.
 */
export function startFrom(graph: Graph, weights: NamedTensors): Graph {
  const missing = graph.parameters.filter((parameter) => find(parameter, weights) === undefined);
  const own = new Set(graph.parameters.flatMap(({ name, aliases = [] }) => [name, ...aliases]));
  const foreign = [...weights.keys()].filter((name) => !own.has(name));
  if (missing.length > 0 || foreign.length > 0) {
    const complaints = [
      ...(missing.length > 0 ? [`they lack ${listing(missing.map(({ name }) => name))}`] : []),
      ...(foreign.length > 0 ? [`the model has no ${listing(foreign)}`] : []),
    ];
    throw new GraphError("structure", `weights: ${complaints.join("; ")}`);
  }
  const parameters = graph.parameters.map((parameter) => {
    const tensor = find(parameter, weights);
    if (tensor === undefined || !sameShape(tensor.shape, parameter.shape)) {
      throw new GraphError(
        "shape",
        `weights: ${parameter.name} is [${tensor?.shape.join(", ")}], the model's is [${parameter.shape.join(", ")}]`,
      );
    }
    return { ...parameter, init: given(Float32Array.from(tensor.values)) };
  });
  return { ...graph, parameters };
}
