/** Turns a model and a loss into one graph. */

import type { Graph, GraphInput, Node } from "../graph/ir.ts";
import { IR_VERSION } from "../graph/ir.ts";
import { pruneGraph } from "../graph/prune.ts";
import { bindShape } from "../graph/shapes.ts";
import type { Loss } from "./losses/index.ts";
import { type Module, TRACE_BATCH, Tracer } from "./module.ts";

export interface ModelDescription {
  readonly model: Module;
  readonly loss: Loss;
  /** Shape of one sample, such as [784]. */
  readonly input: readonly number[];
}

const at = (shape: GraphInput["shape"], dtype: GraphInput["dtype"]) => ({
  dtype,
  shape: bindShape(shape, TRACE_BATCH),
});

/**
 * The graph of a model with one feature input `x` [N, ...input], targets `y` and per-sample weights `weight` [N].
 * Throws GraphError naming the layer that does not fit.
 */
export function buildGraph({ model, loss, input }: ModelDescription): Graph {
  const x: GraphInput = { name: "x", dtype: "float32", shape: ["N", ...input], role: "feature" };
  const weight: GraphInput = { name: "weight", dtype: "float32", shape: ["N"], role: "weight" };

  // The targets' type follows from the prediction's, so the model is traced once to learn it.
  const probe = new Tracer([at(x.shape, x.dtype)]);
  const target = loss.target(probe.shapeOf(model.build(probe, 0)));
  const y: GraphInput = { name: "y", ...target, role: "target" };

  const inputs = [x, y, weight];
  const tracer = new Tracer(inputs.map(({ shape, dtype }) => at(shape, dtype)));
  const prediction = model.build(tracer, 0);
  const values = loss.build(tracer, { prediction, target: 1, weight: 2 });
  const number = (id: number): number => tracer.number(id);
  return pruneGraph({
    irVersion: IR_VERSION,
    inputs,
    parameters: tracer.parameters,
    nodes: tracer.nodes.map((node) => ({ ...node, inputs: node.inputs.map(number) }) as Node),
    outputs: {
      prediction: number(prediction),
      loss: number(values.loss),
      weight: number(values.weight),
      metrics: Object.fromEntries(Object.entries(values.metrics).map(([name, id]) => [name, number(id)])),
      ...(values.largestWeight === undefined ? {} : { largestWeight: values.largestWeight }),
    },
  });
}
