/** Turns a model and a loss into one graph. */

import { GraphError } from "../graph/error.ts";
import type { DType, Graph, GraphInput, Node } from "../graph/ir.ts";
import { IR_VERSION } from "../graph/ir.ts";
import { pruneGraph } from "../graph/prune.ts";
import { bindShape } from "../graph/shapes.ts";
import type { Loss, LossValues } from "./losses/index.ts";
import { type Module, TRACE_BATCH, Tracer } from "./module.ts";

/** One sample of an input; `dtype` is float32 if absent. */
export interface InputShape {
  readonly dtype?: DType;
  readonly shape: readonly number[];
}

export interface ModelDescription {
  readonly model: Module;
  readonly loss: Loss;
  /**
   * Shape of one sample, such as [784], of an input `x`; or inputs by name, such as `{ x: { dtype: "int32", shape: [64] } }`.
   * Of several, the model is given the first, and reads others by `nn.input(name)`.
   */
  readonly input: readonly number[] | Readonly<Record<string, InputShape>>;
}

const at = (shape: GraphInput["shape"], dtype: GraphInput["dtype"]) => ({
  dtype,
  shape: bindShape(shape, TRACE_BATCH),
});

/** Names that every graph gives to its targets and weights. */
const TAKEN = ["y", "weight"];

function featuresOf(input: ModelDescription["input"]): GraphInput[] {
  const named: Readonly<Record<string, InputShape>> = isShape(input) ? { x: { shape: input } } : input;
  const features = Object.entries(named).map(([name, { dtype = "float32", shape }]): GraphInput => {
    if (TAKEN.includes(name)) throw new GraphError("structure", `an input cannot be named ${name}: that is the loss's`);
    return { name, dtype, shape: ["N", ...shape], role: "feature" };
  });
  if (features.length === 0) throw new GraphError("structure", "the model has no input, expected one or more");
  return features;
}

/** `Array.isArray` does not narrow readonly arrays. */
const isShape = (input: ModelDescription["input"]): input is readonly number[] => Array.isArray(input);

function tablesOf(tracer: Tracer, tables: NonNullable<LossValues["tables"]>): NonNullable<Graph["outputs"]["tables"]> {
  const entries = Object.entries(tables);
  return Object.fromEntries(
    entries.map(([name, id]) => [name, { value: tracer.number(id), shape: tracer.shapeOf(id) }]),
  );
}

/**
 * The graph of a model with its features [N, ...shape], targets `y` and per-sample weights `weight` [N].
 * Throws GraphError naming the layer that does not fit.
 */
export function buildGraph({ model, loss, input }: ModelDescription): Graph {
  const features = featuresOf(input);
  const names = features.map(({ name }) => name);
  const typed = features.map(({ shape, dtype }) => at(shape, dtype));
  const weight: GraphInput = { name: "weight", dtype: "float32", shape: ["N"], role: "weight" };

  // The targets' type follows from the prediction's, so the model is traced once to learn it.
  const probe = new Tracer(typed, names);
  const target = loss.target(probe.shapeOf(model.build(probe, 0)));
  const y: GraphInput = { name: "y", ...target, role: "target" };

  const inputs = [...features, y, weight];
  const tracer = new Tracer(
    inputs.map(({ shape, dtype }) => at(shape, dtype)),
    names,
  );
  const prediction = model.build(tracer, 0);
  const values = loss.build(tracer, { prediction, target: features.length, weight: features.length + 1 });
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
      ...(values.tables === undefined ? {} : { tables: tablesOf(tracer, values.tables) }),
      ...(values.largestWeight === undefined ? {} : { largestWeight: values.largestWeight }),
    },
  });
}
