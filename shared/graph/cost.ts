/** What a graph costs to run, for budgets and for what a volunteer is told before joining. Estimates, not measurements. */

import type { Graph } from "./ir.ts";
import { opOf } from "./ops/index.ts";
import { parameterLength } from "./parameters.ts";
import { firstNode, inferShapes } from "./shapes.ts";
import { sizeOf } from "./tensor.ts";

export interface GraphCost {
  /** Floating-point operations of one run over a micro-batch, a multiply-add counted as two. */
  readonly flops: number;
  readonly parameterBytes: number;
  /** All values of one run, none of them reused, and the most that an op needs besides them. */
  readonly activationBytes: number;
}

const BYTES = 4;

/** Throws GraphError if the graph does not fit together. */
export function estimateCost(graph: Graph, microBatch: number): GraphCost {
  const types = inferShapes(graph, microBatch);
  const first = firstNode(graph);
  let flops = 0;
  let values = 0;
  let scratch = 0;
  for (const [index, node] of graph.nodes.entries()) {
    const size = sizeOf(types[first + index].shape);
    const operands = node.inputs.map((id) => types[id]);
    const own = opOf(node.op).cost?.(operands, node.attributes, types[first + index]);
    const read = node.inputs.reduce((largest, id) => Math.max(largest, sizeOf(types[id].shape)), size);
    if (own !== undefined) {
      flops += own.flops;
      scratch = Math.max(scratch, own.scratch);
    } else if (node.op === "Gemm") {
      const [a] = node.inputs.map((id) => types[id].shape);
      flops += 2 * size * (node.attributes.transA ? a[0] : a[1]);
    } else if (node.op === "MatMul") {
      flops += 2 * size * (types[node.inputs[0]].shape.at(-1) ?? 1);
    } else flops += read;
    values += size;
  }
  return { flops, parameterBytes: parameterLength(graph) * BYTES, activationBytes: (values + scratch) * BYTES };
}
