/** Removes the nodes that nothing asked for depends on. Inputs and parameters keep their numbers; nodes are renumbered. */

import type { Graph, Node, ValueId } from "./ir.ts";
import { firstNode } from "./shapes.ts";

/** The nodes that `wanted` values need, and the new number of each kept value. */
export function pruneNodes(
  graph: Pick<Graph, "inputs" | "parameters" | "nodes">,
  wanted: Iterable<ValueId>,
): { nodes: Node[]; renumber: (id: ValueId) => ValueId } {
  const first = graph.inputs.length + graph.parameters.length;
  const needed = new Set<ValueId>(wanted);
  for (let index = graph.nodes.length - 1; index >= 0; index--) {
    if (needed.has(first + index)) for (const input of graph.nodes[index].inputs) needed.add(input);
  }
  const numbers = new Map<ValueId, ValueId>();
  const renumber = (id: ValueId): ValueId => (id < first ? id : (numbers.get(id) ?? -1));
  const nodes: Node[] = [];
  for (const [index, node] of graph.nodes.entries()) {
    if (!needed.has(first + index)) continue;
    numbers.set(first + index, first + nodes.length);
    nodes.push({ ...node, inputs: node.inputs.map(renumber) } as Node);
  }
  return { nodes, renumber };
}

const outputsOf = ({ outputs }: Graph): ValueId[] => [
  outputs.prediction,
  outputs.loss,
  outputs.weight,
  ...Object.values(outputs.metrics),
  ...Object.values(outputs.tables ?? {}).map(({ value }) => value),
];

function renumberOutputs({ outputs }: Graph, renumber: (id: ValueId) => ValueId): Graph["outputs"] {
  const metrics = Object.fromEntries(Object.entries(outputs.metrics).map(([name, id]) => [name, renumber(id)]));
  const { prediction, loss, weight } = outputs;
  const renumbered = {
    ...outputs,
    prediction: renumber(prediction),
    loss: renumber(loss),
    weight: renumber(weight),
    metrics,
  };
  if (outputs.tables === undefined) return renumbered;
  const tables = Object.entries(outputs.tables).map(([name, { value, shape }]) => [
    name,
    { value: renumber(value), shape },
  ]);
  return { ...renumbered, tables: Object.fromEntries(tables) };
}

/** The same graph without nodes that none of its outputs needs. */
export function pruneGraph(graph: Graph): Graph {
  const { nodes, renumber } = pruneNodes(graph, outputsOf(graph));
  const { irVersion, inputs, parameters } = graph;
  return { irVersion, inputs, parameters, nodes, outputs: renumberOutputs(graph, renumber) };
}

/** The nodes that only the prediction needs; the targets are then not read. */
export function predictionNodes(graph: Graph): { nodes: Node[]; prediction: ValueId } {
  const { nodes, renumber } = pruneNodes(graph, [graph.outputs.prediction]);
  return { nodes, prediction: renumber(graph.outputs.prediction) };
}

/** The graph as it is used to evaluate and predict: products with a dropout mask are the other factor. */
export function inferenceGraph(graph: Graph): Graph {
  const first = firstNode(graph);
  const isMask = (id: ValueId): boolean => id >= first && graph.nodes[id - first].op === "DropoutMask";
  const replaced = new Map<ValueId, ValueId>();
  const resolve = (id: ValueId): ValueId => replaced.get(id) ?? id;
  const nodes = graph.nodes.map((node, index) => {
    const inputs = node.inputs.map(resolve);
    if (node.op === "Mul" && inputs.some(isMask)) {
      const [factor] = inputs.filter((id) => !isMask(id));
      if (factor !== undefined) replaced.set(first + index, factor);
    }
    return { ...node, inputs } as Node;
  });
  const { irVersion, inputs, parameters } = graph;
  return pruneGraph({ irVersion, inputs, parameters, nodes, outputs: renumberOutputs(graph, resolve) });
}

export { outputsOf, renumberOutputs };
