/**
 * The float64 reference executor: the oracle that every engine is checked against (invariant I7). It runs one op after
 * another and keeps every value; it is slow, and meant to be obviously right.
 */

import { GraphError } from "./error.ts";
import type { Graph } from "./ir.ts";
import { opOf, type RunContext } from "./ops/index.ts";
import { inferShapes } from "./shapes.ts";
import { sizeOf, type Tensor } from "./tensor.ts";

/**
 * Every value of the graph by ValueId, flat and row-major.
 * @param inputs by name, each of its shape with N bound, flat
 * @param weights flat parameter array
 * @param context what dropout masks depend on
 */
export function runReference(
  graph: Graph,
  microBatch: number,
  inputs: Readonly<Record<string, ArrayLike<number>>>,
  weights: ArrayLike<number>,
  context: RunContext = { seed: 0, step: 0, position: 0 },
): Float64Array[] {
  const types = inferShapes(graph, microBatch);
  const values: Tensor[] = [];
  for (const [index, { name }] of graph.inputs.entries()) {
    const { shape } = types[index];
    const given = inputs[name];
    // Inputs that nothing reads, such as targets when predicting, may be absent.
    const data = given === undefined ? new Float64Array(sizeOf(shape)) : Float64Array.from(given);
    if (data.length !== sizeOf(shape)) {
      throw new GraphError(
        "shape",
        `input ${name} has ${data.length} values, [${shape.join(", ")}] needs ${sizeOf(shape)}`,
      );
    }
    values.push({ shape, data });
  }
  for (const { shape, offset } of graph.parameters) {
    values.push({ shape, data: Float64Array.from({ length: sizeOf(shape) }, (_, at) => weights[offset + at]) });
  }
  for (const node of graph.nodes) {
    const type = types[values.length];
    const operands = node.inputs.map((id) => values[id]);
    values.push({ shape: type.shape, data: opOf(node.op).forward(operands, node.attributes, type, context) });
  }
  return values.map(({ data }) => data);
}
