/**
 * Writes the gradient of max-pooling without indices, which onnxruntime-web's WebGPU provider lacks, so that the CNN runs
 * there at all. Where windows do not overlap, an element gets its window's cotangent if it equals the window's largest: with
 * ReLU before it, ties are zeros, whose gradient is zero anyway.
 */

import { firstNode, inferShapes, type Node, type TrainingGraph, type ValueId } from "../../../shared/graph/index.ts";
import { Refusal } from "../../harness/race.ts";

type Windows = Extract<Node, { op: "MaxPoolGrad" }>["attributes"];

/** Throws Refusal `unavailable` unless windows lie side by side. */
function requireTiles({ kernel_shape, strides, pads }: Windows, shape: readonly number[]): void {
  const tiles = kernel_shape.every((size, axis) => strides[axis] === size && shape[axis + 2] % size === 0);
  if (!tiles || kernel_shape.length !== 2 || pads.some((size) => size !== 0)) {
    throw new Refusal("unavailable", "its WebGPU provider has no indices of MaxPool, and these windows overlap");
  }
}

/** The same graph with every MaxPoolGrad written in other ops. */
export function withoutPoolIndices(graph: TrainingGraph, microBatch: number): TrainingGraph {
  const first = firstNode(graph);
  const types = inferShapes(graph, microBatch);
  const nodes: Node[] = [];
  const moved: ValueId[] = Array.from({ length: first }, (_, id) => id);
  const emit = (node: Node): ValueId => first + nodes.push(node) - 1;

  /** [N, C, h, w] → [N, C, H, W]: every element once for each of its window. */
  const spread = (id: ValueId, [n, channels, height, width]: readonly number[], [down, across]: readonly number[]) => {
    const [rows, columns] = [height / down, width / across];
    const apart = emit({
      op: "Reshape",
      inputs: [id],
      attributes: { shape: [n * channels * rows, 1, columns, 1] },
    });
    const wide = emit({
      op: "Expand",
      inputs: [apart],
      attributes: { shape: [n * channels * rows, down, columns, across] },
    });
    return emit({ op: "Reshape", inputs: [wide], attributes: { shape: [n, channels, height, width] } });
  };

  for (const [index, node] of graph.nodes.entries()) {
    const inputs = node.inputs.map((id) => moved[id]);
    if (node.op !== "MaxPoolGrad") {
      moved[first + index] = emit({ ...node, inputs } as Node);
      continue;
    }
    const { shape } = types[node.inputs[0]];
    requireTiles(node.attributes, shape);
    const { kernel_shape } = node.attributes;
    const [x, cotangent] = inputs;
    const largest = spread(emit({ op: "MaxPool", inputs: [x], attributes: node.attributes }), shape, kernel_shape);
    const below = emit({ op: "Sub", inputs: [largest, x], attributes: {} }); // 0 where x is the largest, else positive
    const isOther = emit({ op: "Sign", inputs: [below], attributes: {} });
    const one = emit({ op: "Constant", inputs: [], attributes: { value: 1 } });
    const mask = emit({ op: "Sub", inputs: [one, isOther], attributes: {} });
    const given = spread(cotangent, shape, kernel_shape);
    moved[first + index] = emit({ op: "Mul", inputs: [mask, given], attributes: {} });
  }
  const { outputs, gradients } = graph;
  return {
    ...graph,
    nodes,
    outputs: {
      ...outputs,
      prediction: moved[outputs.prediction],
      loss: moved[outputs.loss],
      weight: moved[outputs.weight],
      metrics: Object.fromEntries(Object.entries(outputs.metrics).map(([name, id]) => [name, moved[id]])),
    },
    gradients: gradients.map((id) => (id === null ? null : moved[id])),
  };
}
