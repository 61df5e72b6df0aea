/** Layers of attention networks against PyTorch (test/fixtures/attention.py): outputs and every gradient, on all lowerings. */

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { type LoweredModel, lowerPrediction, lowerTraining } from "../../client/engine/onnx/lowering.ts";
import {
  differentiate,
  type Graph,
  inferShapes,
  initialize,
  parameterLength,
  runReference,
  sizeOf,
  type TrainingGraph,
  type ValueId,
} from "../../shared/graph/index.ts";
import { buildGraph, type Loss, type Module, nn } from "../../shared/nn/index.ts";
import { runtime } from "./onnxruntime.ts";
import { openDevice } from "./webgpu-device.ts";
import { relativeError, runOnGpu } from "./webgpu-run.ts";

interface Fixture {
  readonly input: { readonly shape: readonly number[]; readonly integer: boolean; readonly values: readonly number[] };
  readonly state: Readonly<Record<string, readonly number[]>>;
  readonly cotangent: readonly number[];
  readonly output: { readonly shape: readonly number[]; readonly values: readonly number[] };
  readonly gradients: Readonly<Record<string, readonly number[]>>;
  readonly mask?: readonly number[];
}

const FIXTURES = JSON.parse(
  gunzipSync(readFileSync(new URL("../fixtures/attention.json.gz", import.meta.url))).toString(),
) as Readonly<Record<string, Fixture>>;

const tokens = nn.embedding(6, 4);

const MODULES: Readonly<Record<string, Module>> = {
  "linear over [N, T, in]": nn.linear(5, 3),
  "linear over [N, A, T, in] without bias": nn.linear(4, 6, { bias: false }),
  "layerNorm(7)": nn.layerNorm(7),
  "layerNorm([3, 4], eps 1e-3)": nn.layerNorm([3, 4], { eps: 1e-3 }),
  "rmsNorm(6)": nn.rmsNorm(6),
  "groupNorm(2, 6) over [N, 6]": nn.groupNorm(2, 6),
  "groupNorm(3, 6, eps 1e-2) over [N, 6, 3, 2]": nn.groupNorm(3, 6, { eps: 1e-2 }),
  "groupNorm(1, 1) over [1, 1, 5]": nn.groupNorm(1, 1),
  "batchNorm(4) over [N, 4]": nn.batchNorm(4),
  "batchNorm(3, eps 1e-3) over [N, 3, 2, 5]": nn.batchNorm(3, { eps: 1e-3 }),
  "embedding(9, 5)": nn.embedding(9, 5),
  "embedding(1, 4)": nn.embedding(1, 4),
  "sinusoidalPositions(7, 6) after linear": nn.sequential(nn.linear(3, 6), nn.sinusoidalPositions(7, 6)),
  "sinusoidalPositions(4, 5) after linear": nn.sequential(nn.linear(3, 5), nn.sinusoidalPositions(4, 5)),
  "multiheadAttention(6, 2)": nn.multiheadAttention(6, 2),
  "multiheadAttention(6, 3, causal)": nn.multiheadAttention(6, 3, { causal: true }),
  "multiheadAttention(8, 1, no bias) of one sample": nn.multiheadAttention(8, 1, { bias: false }),
  "multiheadAttention(4, 2, causal, padding mask)": nn.multiheadAttention(4, 2, { causal: true, paddingMask: "mask" }),
  "transformerBlock(6, 2), post-norm, ReLU": nn.transformerBlock(6, 2, { dimFeedforward: 10, dropout: 0 }),
  "transformerBlock(8, 4), pre-norm, GELU, causal": nn.transformerBlock(8, 4, {
    dimFeedforward: 12,
    dropout: 0,
    activation: "gelu",
    normFirst: true,
    causal: true,
  }),
  "meanOverTokens after linear, padding mask": nn.sequential(
    nn.linear(3, 4),
    nn.meanOverTokens({ paddingMask: "mask" }),
  ),
  "meanOverTokens after linear": nn.sequential(nn.linear(3, 4), nn.meanOverTokens()),
  "embedding(6, 4) tied to linear(4, 6)": nn.sequential(tokens, nn.linear(4, 6, { weightOf: tokens })),
};

/** Σ output × target: its gradient is the target's pull-back. */
const inner: Loss = {
  kind: "inner",
  target: (shape) => ({ dtype: "float32", shape: ["N", ...shape.slice(1)] }),
  build(to, { prediction, target, weight }) {
    const product = to.emit("Mul", [prediction, target], {});
    const axes = to.shapeOf(prediction).map((_, axis) => axis);
    return {
      loss: to.emit("ReduceSum", [product], { axes, keepdims: false }),
      weight: to.emit("ReduceSum", [weight], { axes: [0], keepdims: false }),
      metrics: {},
    };
  },
};

function graphOf(module: Module, { input: { shape, integer }, mask }: Fixture): Graph {
  const dtype = integer ? ("int32" as const) : ("float32" as const);
  const x = { dtype, shape: shape.slice(1) };
  const extra = mask === undefined ? {} : { mask: { dtype: "int32" as const, shape: [shape[1]] } };
  return buildGraph({ model: module, loss: inner, input: { x, ...extra } });
}

/** PyTorch's parameters in the flat space; every one of them has a place there, and nothing else has. */
function weightsOf(graph: Graph, state: Fixture["state"]): Float64Array {
  const flat = new Float64Array(parameterLength(graph));
  const names = graph.parameters.flatMap(({ name, aliases = [] }) => [name, ...aliases]);
  expect(names.toSorted()).toEqual(Object.keys(state).toSorted());
  for (const { name, offset, shape } of graph.parameters) {
    expect(state[name], name).toHaveLength(sizeOf(shape));
    flat.set(state[name], offset);
  }
  return flat;
}

type Values = (id: ValueId) => ArrayLike<number>;

/** Compares the output and each gradient. */
function expectPyTorch(training: TrainingGraph, fixture: Fixture, values: Values, tolerance: number): void {
  const { prediction } = training.outputs;
  expect(relativeError(values(prediction), fixture.output.values), "output").toBeLessThanOrEqual(tolerance);
  const found = training.gradients.flatMap((id, index) => (id === null ? [] : [[training.parameters[index].name, id]]));
  expect(found.map(([name]) => name).toSorted()).toEqual(Object.keys(fixture.gradients).toSorted());
  for (const [name, id] of found as [string, ValueId][]) {
    expect(relativeError(values(id), fixture.gradients[name]), name).toBeLessThanOrEqual(tolerance);
  }
}

const gpu = await openDevice();

describe.each(Object.keys(FIXTURES))("%s", (name) => {
  const fixture = FIXTURES[name];
  const microBatch = fixture.input.shape[0];
  const graph = graphOf(MODULES[name], fixture);
  const training = differentiate(graph, microBatch);
  const weights = weightsOf(graph, fixture.state);
  const inputs: Record<string, readonly number[]> = {
    x: fixture.input.values,
    y: fixture.cotangent,
    weight: Array.from({ length: microBatch }, () => 1),
    ...(fixture.mask === undefined ? {} : { mask: fixture.mask }),
  };
  const wanted = [training.outputs.prediction, ...training.gradients.filter((id) => id !== null)];

  it("has PyTorch's output and gradients in float64, within 1e-10", () => {
    const values = runReference(training, microBatch, inputs, weights);
    expect(inferShapes(graph, microBatch)[graph.outputs.prediction].shape).toEqual(fixture.output.shape);
    expectPyTorch(training, fixture, (id) => values[id], 1e-10);
  });

  it("has them on WebGPU, within 1e-5", async () => {
    const values = await runOnGpu(gpu, training, wanted, { microBatch, inputs, weights });
    expectPyTorch(training, fixture, (id) => values.get(id)!, 1e-5);
  });

  it("has them in WASM, within 1e-5", async () => {
    const types = inferShapes(training, microBatch);
    const run = async (model: LoweredModel): Promise<Float32Array[]> => {
      const feeds: Record<string, ReturnType<typeof runtime.createTensor>> = {};
      const feed = (to: string | null, index: number, data: ArrayLike<number>): void => {
        const { dtype, shape } = types[index];
        const typed = dtype === "int32" ? Int32Array.from(data) : Float32Array.from(data);
        if (to !== null) feeds[to] = runtime.createTensor(dtype, typed, shape);
      };
      for (const [index, to] of model.inputs.entries()) feed(to, index, inputs[graph.inputs[index].name]);
      for (const [index, to] of model.parameters.entries()) {
        const { offset, shape } = graph.parameters[index];
        feed(to, graph.inputs.length + index, weights.subarray(offset, offset + sizeOf(shape)));
      }
      const session = await runtime.createSession(model.bytes);
      const results = await session.run(feeds);
      await session.release();
      return model.outputs.map((output) => results[output].data as Float32Array);
    };
    const [prediction] = await run(lowerPrediction(graph, microBatch));
    const [, , ...gradients] = await run(lowerTraining(training, microBatch));
    const [first, ...others] = wanted;
    const byId = new Map([[first, prediction], ...others.map((id, at) => [id, gradients[at]] as const)]);
    expectPyTorch(training, fixture, (id) => byId.get(id)!, 1e-5);
  });
});

describe("first weights", () => {
  it("of attention are PyTorch's: Xavier uniform for the three projections, zeros for both biases", () => {
    const { parameters } = buildGraph({ model: nn.multiheadAttention(8, 2), loss: inner, input: [3, 8] });
    const init = Object.fromEntries(parameters.map((parameter) => [parameter.name, parameter.init]));
    expect(init).toEqual({
      in_proj_weight: { kind: "uniform", bound: Math.sqrt(6 / 32) },
      in_proj_bias: { kind: "constant", value: 0 },
      "out_proj.weight": { kind: "uniform", bound: 1 / Math.sqrt(8) },
      "out_proj.bias": { kind: "constant", value: 0 },
    });
  });

  it("of sinusoidal positions are PyTorch's tutorial's", () => {
    const name = "sinusoidalPositions(4, 5) after linear";
    const graph = graphOf(MODULES[name], FIXTURES[name]);
    const { offset } = graph.parameters.find((parameter) => parameter.name === "1.pe")!;
    const table = initialize(graph, 1).subarray(offset, offset + 20);
    expect(relativeError(table, FIXTURES[name].state["1.pe"])).toBeLessThanOrEqual(1e-7);
  });
});
