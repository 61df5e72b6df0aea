/**
 * A trained model as an ONNX file for others: the graph of the prediction alone, weights inside under their `state_dict`
 * names, and the batch left open. The ops are lowered as for training, where N is fixed; those that write sizes down have an
 * entry here that leaves it open, and any other one that tries to is refused rather than exported for one batch.
 */

import {
  firstNode,
  type Graph,
  GraphError,
  inferenceGraph,
  inferShapes,
  type OpName,
  predictionNodes,
  sizeOf,
} from "../../../shared/graph/index.ts";
import { type Lowering, type LoweringArguments, lowerNode } from "./lowering.ts";
import { ModelWriter } from "./model.ts";

/** Bound while types are inferred: a prime that no sensible layer has (shared/nn/module.ts has another, so that both show). */
const OPEN_BATCH = 7907;

const isOpen = (size: number): boolean => size !== 0 && size % OPEN_BATCH === 0;

class OpenModelWriter extends ModelWriter {
  override fresh(): string {
    return `/${super.fresh()}`;
  }

  override integers(values: readonly number[]): string {
    if (values.some(isOpen)) throw new GraphError("shape", "it needs a batch of fixed size");
    return super.integers(values);
  }
}

/** Sizes with at most one that is left to Reshape. Throws GraphError `shape`. */
function reshaped(shape: readonly number[]): number[] {
  if (shape.filter(isOpen).length > 1) throw new GraphError("shape", "two sizes go with the batch");
  return shape.map((size) => (isOpen(size) ? -1 : size));
}

/** Lowerings that are other ones where the batch is open: the leading size of the input `feature`. */
const openOps = (feature: string): { readonly [Op in OpName]?: Lowering<Op> } => ({
  Reshape: ({ to, inputs: [x], output, type }) => to.node("Reshape", [x, to.integers(reshaped(type.shape))], output),
  // Its target may leave a size as it is by saying 1; one that becomes N is N of the model's input.
  Expand({ to, inputs: [x], types: [{ shape }], output, type }) {
    const missing = type.shape.length - shape.length;
    const sizes = type.shape.map((size, axis) => (isOpen(size) && size === shape[axis - missing] ? 1 : size));
    if (!sizes.some(isOpen)) {
      to.node("Expand", [x, to.integers(sizes)], output);
      return;
    }
    if (sizes.some((size) => isOpen(size) && size !== OPEN_BATCH)) {
      throw new GraphError("shape", "a size is a multiple of the batch");
    }
    const [whole, batch, target] = [to.fresh(), to.fresh(), to.fresh()];
    to.node("Shape", [feature], whole);
    to.node("Slice", [whole, to.integers([0]), to.integers([1])], batch);
    to.node(
      "Concat",
      sizes.map((size) => (isOpen(size) ? batch : to.integers([size]))),
      target,
      { axis: { int: 0 } },
    );
    to.node("Expand", [x, target], output);
  },
});

export interface ExportedModel {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Names of the features that it takes, and of what it answers. */
  readonly inputs: readonly string[];
  readonly output: string;
}

/**
 * The prediction as an ONNX model of opset OPSET: features [N, …] → `prediction` [N, …].
 * @param weights flat parameter array
 * Throws GraphError naming the node that cannot be written for a batch of any size.
 */
export function exportOnnx(graph: Graph, weights: Float32Array): ExportedModel {
  const { nodes, prediction } = predictionNodes(inferenceGraph(graph));
  const whole: Graph = { ...graph, nodes };
  const types = inferShapes(whole, OPEN_BATCH);
  const first = firstNode(whole);
  const read = new Set([prediction, ...nodes.flatMap(({ inputs }) => inputs)]);
  const to = new OpenModelWriter();
  // Parameters keep their names; whatever else would have the same one gives way.
  const own = new Set(graph.parameters.map(({ name }) => name));
  const free = (name: string): string => (own.has(name) ? free(`${name}_`) : name);
  const names = [
    ...graph.inputs.map(({ name }) => free(name)),
    ...graph.parameters.map(({ name }) => name),
    ...nodes.map(() => free(to.fresh())),
  ];
  const taken = graph.inputs.flatMap((input, id) => (read.has(id) ? [{ ...input, name: names[id] }] : []));
  for (const { name, dtype, shape } of taken) to.input(name, dtype, shape);
  const open = openOps(taken[0]?.name ?? "");
  for (const [index, { name, shape, offset }] of graph.parameters.entries()) {
    if (!read.has(graph.inputs.length + index)) continue;
    to.initializer(weights.slice(offset, offset + sizeOf(shape)), shape, name);
  }
  for (const [index, node] of nodes.entries()) {
    const id = first + index;
    const context: Omit<LoweringArguments<OpName>, "attributes"> = {
      to,
      inputs: node.inputs.map((input) => names[input]),
      types: node.inputs.map((input) => types[input]),
      output: names[id],
      type: types[id],
    };
    try {
      const lowering = open[node.op] as Lowering<OpName> | undefined;
      if (lowering === undefined) lowerNode(node, context);
      else lowering({ ...context, attributes: node.attributes });
    } catch (error) {
      if (!(error instanceof GraphError)) throw error;
      throw new GraphError(error.code, `node ${index} (${node.op}) cannot be exported: ${error.message}`);
    }
  }
  const output = free("prediction");
  to.node("Identity", [names[prediction]], output);
  const { dtype, shape } = types[prediction];
  to.output(
    output,
    dtype,
    shape.map((size) => (size === OPEN_BATCH ? ("N" as const) : size)),
  );
  return { bytes: to.finish(), inputs: taken.map(({ name }) => name), output };
}
