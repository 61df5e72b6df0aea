/** ONNX's own backend node tests (test/fixtures/onnx-node-tests.py), and what the importer makes of one of them. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { type Graph, givenWeights, IR_VERSION, type Node, runReference } from "../../../shared/graph/index.ts";
import { TRACE_BATCH, Tracer } from "../../../shared/nn/module.ts";
import { type OnnxModel, parseModel } from "../../../shared/onnx/model.ts";
import { readOnnx } from "../../../shared/onnx/module.ts";
import { type NamedConstant, parseTensor } from "../../../shared/onnx/tensor.ts";

export interface NodeTest {
  readonly name: string;
  /** With their domains, if those are not ONNX's own. */
  readonly ops: readonly string[];
  /** Absent where an op is not supported, or something is no tensor of numbers. */
  readonly model?: string;
  readonly inputs?: readonly string[];
  readonly outputs?: readonly string[];
}

const folder = join(import.meta.dirname, "../../fixtures/onnx-node-tests");
const read = (opset: number): NodeTest[] =>
  JSON.parse(gunzipSync(readFileSync(join(folder, `${opset}.json.gz`))).toString());

/** Names of opset 17 and of 21 are told apart by a suffix. */
export const NODE_TESTS: readonly NodeTest[] = [
  ...read(17),
  ...read(21).map((test) => ({ ...test, name: `${test.name} (since 18)` })),
];

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));
const tensorOf = (text: string, name: string): NamedConstant => ({
  ...parseTensor(bytesOf(text), name, { numbers: 1e7 }),
  name,
});

export interface Loaded {
  readonly model: OnnxModel;
  readonly inputs: readonly NamedConstant[];
  readonly expected: readonly NamedConstant[];
}

export function load({ name, model, inputs = [], outputs = [] }: NodeTest): Loaded {
  if (model === undefined) throw new Error(`${name} has no data`);
  const parsed = parseModel(bytesOf(model));
  return {
    model: parsed,
    inputs: inputs.map((text, index) => tensorOf(text, parsed.inputs[index]!.name)),
    expected: outputs.map((text, index) => tensorOf(text, parsed.outputs[index]!.name)),
  };
}

/**
 * How the inputs of a test come to the model: as weights, as constants that are known while the graph is read, or as weights
 * but for some, which are what a client feeds, the first axis of each the batch.
 */
export type Feeding = "weights" | "constants" | readonly number[];

/** Each way that a test can be fed. */
export function feedingsOf({ inputs }: Loaded): readonly Feeding[] {
  const feedable = inputs.flatMap(({ shape: [batch = 0] }, index) => (batch > 0 ? [index] : []));
  const together = feedable.filter((index) => inputs[index]!.shape[0] === inputs[feedable[0]!]!.shape[0]);
  const ways: readonly (readonly number[])[] = [...feedable.map((index) => [index]), together];
  return ["weights", "constants", ...ways.filter((way, at) => way.length > (at === feedable.length ? 1 : 0))];
}

export interface Result {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

/** Imports a test's model and runs it on the reference executor. Throws GraphError. */
export function run({ model, inputs }: Loaded, feeding: Feeding): readonly Result[] {
  const isFed = (index: number): boolean => typeof feeding === "object" && feeding.includes(index);
  const held = inputs.filter((_, index) => !isFed(index));
  const fed = inputs.filter((_, index) => isFed(index));
  const constants = held.map((constant) => ({
    name: constant.name,
    op: "Constant",
    domain: "",
    inputs: [],
    outputs: [constant.name],
    attributes: new Map([["value", { kind: "tensor", value: constant } as const]]),
  }));
  const isKnown = feeding === "constants";
  const changed: OnnxModel = {
    ...model,
    inputs: model.inputs.filter((_, index) => isFed(index)),
    initializers: isKnown ? model.initializers : [...model.initializers, ...held],
    nodes: isKnown ? [...constants, ...model.nodes] : model.nodes,
  };
  const features = fed.map(({ name, dtype, shape: [, ...rest] }) => ({
    name,
    dtype: dtype === "float" ? ("float32" as const) : ("int32" as const),
    shape: ["N" as const, ...rest],
    role: "feature" as const,
  }));
  const types = features.map(({ dtype, shape: [, ...rest] }) => ({ dtype, shape: [TRACE_BATCH, ...rest.map(Number)] }));
  const to = new Tracer(types);
  const made = readOnnx(
    changed,
    {},
    to,
    features.map((_, index) => index),
  );
  const nodes = to.nodes.map((node) => ({ ...node, inputs: node.inputs.map((id) => to.number(id)) }) as Node);
  const outputs = { prediction: 0, loss: 0, weight: 0, metrics: {} };
  const graph: Graph = { irVersion: IR_VERSION, inputs: features, parameters: to.parameters, nodes, outputs };
  const batch = fed[0]?.shape[0] ?? 1;
  const data = Object.fromEntries(fed.map((constant) => [constant.name, constant.data]));
  const values = runReference(graph, batch, data, givenWeights(graph) ?? new Float32Array(0));
  const bound = (size: number): number =>
    size !== 0 && size % TRACE_BATCH === 0 ? (size / TRACE_BATCH) * batch : size;
  return [...made].map(([name, result]) =>
    result.kind === "constant"
      ? { name, shape: result.constant.shape, data: result.constant.data.map(bound) }
      : { name, shape: to.shapeOf(result.id).map(bound), data: values[to.number(result.id)]! },
  );
}
