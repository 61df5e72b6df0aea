/**
 * Reverse-mode automatic differentiation: appends to a graph the nodes that compute the gradient of its loss with respect
 * to every trainable parameter. Each op's vector–Jacobian product emits ordinary ops, so whatever runs the forward pass
 * runs the backward pass.
 */

import { GraphError } from "./error.ts";
import type { Graph, Node, OpAttributes, OpName, TrainingGraph, ValueId } from "./ir.ts";
import { type Emitter, opOf } from "./ops/index.ts";
import { outputsOf, pruneNodes, renumberOutputs } from "./prune.ts";
import { firstNode, inferNode, inferShapes } from "./shapes.ts";
import { sameShape, type TensorType } from "./tensor.ts";

/** Appends nodes to a copy of a graph's, keeping every value's type; nodes that would do nothing are not made. */
class Tape implements Emitter {
  readonly nodes: Node[];
  readonly #types: TensorType[];
  readonly #microBatch: number;
  readonly #constants = new Map<number, ValueId>();

  constructor(nodes: readonly Node[], types: readonly TensorType[], microBatch: number) {
    this.nodes = [...nodes];
    this.#types = [...types];
    this.#microBatch = microBatch;
  }

  typeOf(id: ValueId): TensorType {
    return this.#types[id];
  }

  constant(value: number): ValueId {
    const held = this.#constants.get(value) ?? this.#append("Constant", [], { value });
    this.#constants.set(value, held);
    return held;
  }

  emit<Op extends OpName>(op: Op, inputs: readonly ValueId[], attributes: OpAttributes[Op]): ValueId {
    if (op === "Mul") {
      const [a, b] = inputs;
      if (a === this.#constants.get(1)) return b;
      if (b === this.#constants.get(1)) return a;
    }
    if (op === "Neg") {
      const value = [...this.#constants].find(([, id]) => id === inputs[0])?.[0];
      if (value !== undefined) return this.constant(-value);
    }
    return this.#append(op, inputs, attributes);
  }

  expand(id: ValueId, shape: readonly number[]): ValueId {
    return sameShape(this.typeOf(id).shape, shape) ? id : this.#append("Expand", [id], { shape });
  }

  reduceTo(id: ValueId, shape: readonly number[]): ValueId {
    const from = this.typeOf(id).shape;
    const missing = from.length - shape.length;
    // A smaller cotangent stands for its broadcast already.
    if (missing < 0) return id;
    const axes = from.flatMap((size, axis) =>
      axis < missing || (shape[axis - missing] === 1 && size !== 1) ? [axis] : [],
    );
    if (axes.length === 0) return id;
    const sum = this.#append("ReduceSum", [id], { axes, keepdims: false });
    return sameShape(this.typeOf(sum).shape, shape) ? sum : this.#append("Reshape", [sum], { shape });
  }

  #append<Op extends OpName>(op: Op, inputs: readonly ValueId[], attributes: OpAttributes[Op]): ValueId {
    const node = { op, inputs, attributes } as unknown as Node;
    const types = inputs.map((id) => this.#types[id]);
    this.nodes.push(node);
    return this.#types.push(inferNode(node, this.nodes.length - 1, types, this.#microBatch)) - 1;
  }
}

/** Whether each value depends on a trainable parameter. */
function findTrainable(graph: Graph): boolean[] {
  const depends = [...graph.inputs.map(() => false), ...graph.parameters.map(({ trainable }) => trainable)];
  for (const node of graph.nodes) depends.push(node.inputs.some((id) => depends[id]));
  return depends;
}

/**
 * The graph with its backward pass, bound to one micro-batch size. The gradient is that of the loss *sum*.
 * Throws GraphError if the graph is malformed or its loss is not a scalar.
 */
export function differentiate(graph: Graph, microBatch: number): TrainingGraph {
  const types = inferShapes(graph, microBatch);
  const first = firstNode(graph);
  const { loss } = graph.outputs;
  if (types[loss].shape.length !== 0) {
    throw new GraphError("shape", `the loss has shape [${types[loss].shape.join(", ")}], expected a scalar`);
  }
  const depends = findTrainable(graph);
  const tape = new Tape(graph.nodes, types, microBatch);
  const cotangents = new Map<ValueId, ValueId>([[loss, tape.constant(1)]]);

  for (let index = graph.nodes.length - 1; index >= 0; index--) {
    const output = first + index;
    const gradient = cotangents.get(output);
    if (gradient === undefined || !depends[output]) continue;
    const { op, inputs, attributes } = graph.nodes[index];
    for (const [at, contribution] of opOf(op).vjp({ to: tape, inputs, output, gradient, attributes }).entries()) {
      const input = inputs[at];
      if (contribution === null || !depends[input]) continue;
      const held = cotangents.get(input);
      cotangents.set(input, held === undefined ? contribution : tape.emit("Add", [held, contribution], {}));
    }
  }

  const gradients = graph.parameters.map(({ trainable, shape }, index) => {
    const gradient = cotangents.get(graph.inputs.length + index);
    return gradient === undefined || !trainable ? null : tape.expand(gradient, shape);
  });
  const wanted = gradients.filter((id) => id !== null);
  const { inputs, parameters, irVersion } = graph;
  const { nodes, renumber } = pruneNodes({ inputs, parameters, nodes: tape.nodes }, [...outputsOf(graph), ...wanted]);
  return {
    irVersion,
    inputs,
    parameters,
    nodes,
    outputs: renumberOutputs(graph, renumber),
    gradients: gradients.map((id) => (id === null ? null : renumber(id))),
  };
}
