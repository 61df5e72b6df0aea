/** Shape inference: the type of every value of a graph for one micro-batch size. */

import { GraphError } from "./error.ts";
import type { Dimension, Graph, Node, ValueId } from "./ir.ts";
import { opOf } from "./ops/index.ts";
import type { TensorType } from "./tensor.ts";

export const bindShape = (shape: readonly Dimension[], microBatch: number): number[] =>
  shape.map((dimension) => (dimension === "N" ? microBatch : dimension));

/** Number of the first node's value: inputs and parameters come before. */
export const firstNode = (graph: Graph): ValueId => graph.inputs.length + graph.parameters.length;

/** Type of a node's output. Throws GraphError `shape` naming the node. */
export function inferNode(node: Node, index: number, inputs: readonly TensorType[], microBatch: number): TensorType {
  const op = opOf(node.op);
  const [least, most] = op.arity;
  if (inputs.length < least || inputs.length > most) {
    throw new GraphError(
      "structure",
      `node ${index} (${node.op}) has ${inputs.length} inputs, expected ${least} to ${most}`,
    );
  }
  try {
    return op.infer(inputs, node.attributes, microBatch);
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    throw new GraphError(error.code, `node ${index} (${node.op}): ${error.message}`);
  }
}

/** Types by ValueId. Throws GraphError. */
export function inferShapes(graph: Graph, microBatch: number): TensorType[] {
  const types: TensorType[] = [
    ...graph.inputs.map(({ dtype, shape }) => ({ dtype, shape: bindShape(shape, microBatch) })),
    ...graph.parameters.map(({ shape }) => ({ dtype: "float32" as const, shape })),
  ];
  for (const [index, node] of graph.nodes.entries()) {
    const inputs = node.inputs.map((id) => {
      if (!(id >= 0 && id < types.length)) {
        throw new GraphError(
          "structure",
          `node ${index} (${node.op}) reads value ${id}, which does not exist before it`,
        );
      }
      return types[id];
    });
    types.push(inferNode(node, index, inputs, microBatch));
  }
  return types;
}
