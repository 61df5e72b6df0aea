/**
 * Lowers graphs to ONNX: one entry an op, and three models of one session: gradients, evaluation, prediction. Names are
 * generated (invariant I10). Weights and dropout masks are inputs, so one compiled model serves the whole session.
 */

import {
  firstNode,
  type Graph,
  inferenceGraph,
  inferShapes,
  type Node,
  type OpAttributes,
  type OpName,
  predictionNodes,
  sizeOf,
  type TensorType,
  type TrainingGraph,
  type ValueId,
} from "../../../shared/graph/index.ts";
import { metricNames, tableSizes } from "../../../shared/graph/parameters.ts";
import { pruneNodes } from "../../../shared/graph/prune.ts";
import { type AttributeValue, ModelWriter } from "./model.ts";

export interface LoweringArguments<Op extends OpName> {
  readonly to: ModelWriter;
  readonly inputs: readonly string[];
  readonly types: readonly TensorType[];
  /** Name to give the result, and its type. */
  readonly output: string;
  readonly type: TensorType;
  readonly attributes: OpAttributes[Op];
}

export type Lowering<Op extends OpName> = (args: LoweringArguments<Op>) => void;

/** An ONNX op of the same name and meaning. */
const same =
  <Op extends OpName>(op: Op): Lowering<Op> =>
  ({ to, inputs, output }) =>
    to.node(op, inputs, output);

/** Lists of integers as attributes. */
const lists = (given: Readonly<Record<string, readonly number[]>>): Record<string, AttributeValue> =>
  Object.fromEntries(Object.entries(given).map(([name, ints]) => [name, { ints }]));

const flag = (value: boolean): AttributeValue => ({ int: value ? 1 : 0 });

/**
 * Indices moved into the table (ONNX counts negative ones from the end and fails on others), and whether they were there,
 * of a shape that broadcasts to the rows'.
 */
function clampedRows(
  to: ModelWriter,
  indices: string,
  shape: readonly number[],
  depth: number,
  rows: readonly number[],
): { row: string; exists: string } {
  const [row, same, exists] = [to.fresh(), to.fresh(), to.fresh()];
  const [first, last] = [0, depth - 1].map((value) => to.initializer(Int32Array.of(value), []));
  to.node("Clip", [indices, first, last], row);
  to.node("Equal", [row, indices], same);
  const axes = rows.map((_, axis) => axis).slice(shape.length);
  if (axes.length === 0) return { row, exists: same };
  to.node("Unsqueeze", [same, to.integers(axes)], exists);
  return { row, exists };
}

export const ONNX_OPS: { readonly [Op in OpName]: Lowering<Op> } = {
  Constant: ({ to, output, attributes: { value } }) =>
    to.node("Identity", [to.initializer(Float32Array.of(value), [])], output),
  ConstantVector: ({ to, output, attributes: { values } }) =>
    to.node("Identity", [to.initializer(Float32Array.from(values), [values.length])], output),
  // Computed outside: the mask is an input of the model.
  DropoutMask: ({ to, output, type }) => to.input(output, "float32", type.shape),
  Gemm: ({ to, inputs, output, attributes: { transA, transB } }) =>
    to.node("Gemm", inputs, output, { transA: flag(transA), transB: flag(transB) }),
  Add: same("Add"),
  Sub: same("Sub"),
  Mul: same("Mul"),
  Div: same("Div"),
  Max: same("Max"),
  Neg: same("Neg"),
  Abs: same("Abs"),
  Sign: same("Sign"),
  Exp: same("Exp"),
  Log: same("Log"),
  Erf: same("Erf"),
  Tanh: same("Tanh"),
  Sigmoid: same("Sigmoid"),
  Softplus: same("Softplus"),
  Relu: same("Relu"),
  LeakyRelu: ({ to, inputs, output, attributes: { alpha } }) =>
    to.node("LeakyRelu", inputs, output, { alpha: { float: alpha } }),
  Softmax: ({ to, inputs, output, attributes: { axis } }) =>
    to.node("Softmax", inputs, output, { axis: { int: axis } }),
  LogSoftmax: ({ to, inputs, output, attributes: { axis } }) =>
    to.node("LogSoftmax", inputs, output, { axis: { int: axis } }),
  ReduceSum: ({ to, inputs: [x], output, attributes: { axes, keepdims } }) =>
    to.node("ReduceSum", [x, to.integers(axes)], output, { keepdims: flag(keepdims) }),
  // Its axes are an attribute until opset 18.
  ReduceMax: ({ to, inputs, output, attributes: { axes, keepdims } }) =>
    to.node("ReduceMax", inputs, output, { axes: { ints: axes }, keepdims: flag(keepdims) }),
  ArgMax({ to, inputs, output, attributes: { axis } }) {
    const index = to.fresh();
    to.node("ArgMax", inputs, index, { axis: { int: axis }, keepdims: { int: 0 } });
    to.node("Cast", [index], output, { to: { int: 6 } });
  },
  // ONNX OneHot counts negative indices from the end; comparing gives a row of zeros for every index out of range.
  OneHot({ to, inputs: [x], types: [{ shape }], output, attributes: { depth } }) {
    const column = to.fresh();
    const equal = to.fresh();
    to.node("Unsqueeze", [x, to.integers([shape.length])], column);
    to.node(
      "Equal",
      [
        column,
        to.initializer(
          Int32Array.from({ length: depth }, (_, at) => at),
          [depth],
        ),
      ],
      equal,
    );
    to.node("Cast", [equal], output, { to: { int: 1 } });
  },
  Cast: ({ to, inputs, output, attributes }) =>
    to.node("Cast", inputs, output, { to: { int: attributes.to === "int32" ? 6 : 1 } }),
  Reshape: ({ to, inputs: [x], output, type }) => to.node("Reshape", [x, to.integers(type.shape)], output),
  Transpose: ({ to, inputs, output, attributes: { perm } }) =>
    to.node("Transpose", inputs, output, { perm: { ints: perm } }),
  Expand: ({ to, inputs: [x], output, type }) => to.node("Expand", [x, to.integers(type.shape)], output),
  Conv: ({ to, inputs, output, attributes: { group, ...windows } }) =>
    to.node("Conv", inputs, output, { ...lists(windows), group: { int: group } }),
  // onnxruntime takes output_padding below the stride only: more than that is less padding, and zeros after what is left.
  ConvTranspose({ to, inputs: [x, w, bias], output, attributes: { group, output_padding, ...windows } }) {
    const { pads, strides } = windows;
    const options = { ...lists(windows), group: { int: group } };
    if (output_padding.every((size, axis) => size < strides[axis])) {
      const operands = bias === undefined ? [x, w] : [x, w, bias];
      return to.node("ConvTranspose", operands, output, { ...options, ...lists({ output_padding }) });
    }
    const axes = output_padding.length;
    const cropped = pads.map((size, at) => (at < axes ? size : Math.max(0, size - output_padding[at - axes])));
    const zeros = output_padding.map((size, axis) => Math.max(0, size - pads[axis + axes]));
    const inner = to.fresh();
    const whole = bias === undefined ? output : to.fresh();
    to.node("ConvTranspose", [x, w], inner, { ...options, ...lists({ pads: cropped }) });
    to.node("Pad", [inner, to.integers([0, 0, ...zeros.map(() => 0), 0, 0, ...zeros])], whole);
    if (bias === undefined) return;
    const column = to.fresh();
    to.node("Reshape", [bias, to.integers([-1, ...zeros.map(() => 1)])], column);
    to.node("Add", [whole, column], output);
  },
  MaxPool: ({ to, inputs, output, attributes }) => to.node("MaxPool", inputs, output, lists({ ...attributes })),
  // The index of a window's first largest element comes with MaxPool; windows overlap, so that what they give is added up.
  MaxPoolGrad({ to, inputs: [x, dy], types: [{ shape }], output, attributes }) {
    const size = sizeOf(shape);
    const [largest, indices, row, gradient, zeros, sums] = Array.from({ length: 6 }, () => to.fresh());
    to.node("MaxPool", [x], [largest, indices], lists({ ...attributes }));
    to.node("Reshape", [indices, to.integers([-1])], row);
    to.node("Reshape", [dy, to.integers([-1])], gradient);
    to.node("Expand", [to.initializer(Float32Array.of(0), [1]), to.integers([size])], zeros);
    to.node("ScatterElements", [zeros, row, gradient], sums, { axis: { int: 0 }, reduction: { text: "add" } });
    to.node("Reshape", [sums, to.integers(shape)], output);
  },
  AveragePool: ({ to, inputs, output, attributes: { count_include_pad, ...windows } }) =>
    to.node("AveragePool", inputs, output, { ...lists(windows), count_include_pad: flag(count_include_pad) }),
  Slice: ({ to, inputs: [x], output, attributes: { starts, ends, axes, steps } }) =>
    to.node("Slice", [x, ...[starts, ends, axes, steps].map((numbers) => to.integers(numbers))], output),
  Pad: ({ to, inputs: [x], output, attributes: { pads } }) => to.node("Pad", [x, to.integers(pads)], output),
  Concat: ({ to, inputs, output, attributes: { axis } }) => to.node("Concat", inputs, output, { axis: { int: axis } }),
  MatMul: same("MatMul"),
  Sqrt: same("Sqrt"),
  Trilu: ({ to, inputs, output, attributes: { upper } }) => to.node("Trilu", inputs, output, { upper: flag(upper) }),
  Gather({ to, inputs: [table, indices], types: [{ shape }, { shape: at }], output, type }) {
    const { row, exists } = clampedRows(to, indices, at, shape[0], type.shape);
    const gathered = to.fresh();
    to.node("Gather", [table, row], gathered);
    to.node("Where", [exists, gathered, to.initializer(Float32Array.of(0), [])], output);
  },
  GatherGrad({ to, inputs: [indices, rows], types: [{ shape: at }, { shape }], output, type, attributes: { depth } }) {
    const { row, exists } = clampedRows(to, indices, at, depth, shape);
    const [kept, wide, column] = [to.fresh(), to.fresh(), to.fresh()];
    const zero = to.initializer(Float32Array.of(0), []);
    const zeros = to.fresh();
    to.node("Where", [exists, rows, zero], kept);
    to.node("Cast", [row], wide, { to: { int: 7 } });
    to.node("Reshape", [wide, to.integers([...at, 1])], column);
    to.node("Expand", [zero, to.integers(type.shape)], zeros);
    to.node("ScatterND", [zeros, column, kept], output, { reduction: { text: "add" } });
  },
};

/** Where a dropout mask goes, and what it depends on. */
export interface MaskInput {
  readonly name: string;
  readonly layer: number;
  readonly probability: number;
  /** Units of one sample. */
  readonly units: number;
  /** Of the whole mask, [N, ...] with N bound. */
  readonly shape: readonly number[];
}

export interface LoweredModel {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Names of the graph's inputs and parameters in the model, by their index; null where the model does not read them. */
  readonly inputs: readonly (string | null)[];
  readonly parameters: readonly (string | null)[];
  readonly masks: readonly MaskInput[];
  /** Names of the wanted outputs, in their order, and their types with N bound. */
  readonly outputs: readonly string[];
  readonly outputTypes: readonly TensorType[];
}

/** Lowers nodes so that the model computes the values `wanted`. */
function lower(
  graph: Pick<Graph, "inputs" | "parameters" | "nodes">,
  wanted: readonly ValueId[],
  microBatch: number,
): LoweredModel {
  const whole = graph as Graph;
  const types = inferShapes(whole, microBatch);
  const first = firstNode(whole);
  const read = new Set<ValueId>([...wanted, ...graph.nodes.flatMap(({ inputs }) => inputs)]);
  const to = new ModelWriter();
  const names: string[] = types.map(() => to.fresh());
  const isRead = (id: ValueId): string | null => (read.has(id) ? names[id] : null);
  const masks: MaskInput[] = [];

  for (let id = 0; id < first; id++) {
    if (read.has(id)) to.input(names[id], types[id].dtype, types[id].shape);
  }
  for (const [index, node] of graph.nodes.entries()) {
    const id = first + index;
    lowerNode(node, {
      to,
      inputs: node.inputs.map((input) => names[input]),
      types: node.inputs.map((input) => types[input]),
      output: names[id],
      type: types[id],
    });
    if (node.op === "DropoutMask") {
      const { layer, probability, shape } = node.attributes;
      masks.push({ name: names[id], layer, probability, units: sizeOf(shape), shape: types[id].shape });
    }
  }
  // Every output is a value of its own, even if two are the same or one is an input.
  const outputs = wanted.map((id) => {
    const name = to.fresh();
    to.node("Identity", [names[id]], name);
    to.output(name, types[id].dtype, types[id].shape);
    return name;
  });
  return {
    bytes: to.finish(),
    inputs: graph.inputs.map((_, index) => isRead(index)),
    parameters: graph.parameters.map((_, index) => isRead(graph.inputs.length + index)),
    masks,
    outputs,
    outputTypes: wanted.map((id) => types[id]),
  };
}

export function lowerNode(node: Node, context: Omit<LoweringArguments<OpName>, "attributes">): void {
  (ONNX_OPS[node.op] as Lowering<OpName>)({ ...context, attributes: node.attributes });
}

const scalarOutputs = (graph: Graph): ValueId[] => [
  graph.outputs.loss,
  graph.outputs.weight,
  ...metricNames(graph).map((name) => graph.outputs.metrics[name]),
];

/** Outputs: loss, weight, metrics in sorted order, then one gradient per parameter that has one. */
export function lowerTraining(graph: TrainingGraph, microBatch: number): LoweredModel {
  const wanted = [...scalarOutputs(graph), ...graph.gradients.filter((id) => id !== null)];
  // Without what only the tables need.
  const { nodes, renumber } = pruneNodes(graph, wanted);
  return lower({ ...graph, nodes }, wanted.map(renumber), microBatch);
}

/** Outputs: loss, weight, metrics in sorted order, then the tables; no dropout. */
export function lowerEvaluation(graph: Graph, microBatch: number): LoweredModel {
  const evaluation = inferenceGraph(graph);
  const tables = tableSizes(evaluation).map(({ value }) => value);
  return lower(evaluation, [...scalarOutputs(evaluation), ...tables], microBatch);
}

/** Output: the prediction; targets and weights are not read. */
export function lowerPrediction(graph: Graph, microBatch: number): LoweredModel {
  const { nodes, prediction } = predictionNodes(inferenceGraph(graph));
  return lower({ ...graph, nodes }, [prediction], microBatch);
}
