import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { lowerTraining } from "../../client/engine/onnx/lowering.ts";
import {
  differentiate,
  inferShapes,
  initialize,
  parameterLength,
  runReference,
  type TrainingGraph,
} from "../../shared/graph/index.ts";
import { buildGraph, loss, type Module, nn } from "../../shared/nn/index.ts";
import { runtime } from "./onnxruntime.ts";
import { openDevice } from "./webgpu-device.ts";
import { type Inputs, numbers, relativeError, runOnGpu } from "./webgpu-run.ts";

/** One layer as test/fixtures/windows.py ran it. */
interface Fixture {
  readonly name: string;
  readonly layer: string;
  readonly arguments: readonly unknown[];
  readonly batch: number;
  readonly input: readonly number[];
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly parameters: Readonly<Record<string, readonly number[]>>;
  readonly output: readonly number[];
  /** Summed over the samples. */
  readonly dx: readonly number[];
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

const fixtures: readonly Fixture[] = JSON.parse(
  gunzipSync(readFileSync(new URL("../fixtures/windows.json.gz", import.meta.url))).toString(),
);

const gpu = await openDevice();

/** x plus a parameter of zeros, whose gradient is that of x. */
const shifted: Module = {
  kind: "shifted",
  build: (to, input) =>
    to.emit("Add", [input, to.parameter("dx", to.shapeOf(input).slice(1), { kind: "constant", value: 0 })], {}),
};

function graphOf({ layer, arguments: given, input, batch }: Fixture): TrainingGraph {
  const make = nn[layer as keyof typeof nn] as (...values: readonly unknown[]) => Module;
  const model = nn.sequential(shifted, make(...given));
  return differentiate(buildGraph({ model, loss: loss.mse(), input }), batch);
}

/** What each value is compared with, by its id. */
function expectations(
  graph: TrainingGraph,
  fixture: Fixture,
): { id: number; what: string; expected: readonly number[] }[] {
  const gradients = graph.parameters.map(({ name }, index) => {
    const [, own] = name.split(".");
    const expected = own === "dx" ? fixture.dx : fixture.gradients[own];
    return { id: graph.gradients[index]!, what: `gradient of ${own}`, expected };
  });
  return [{ id: graph.outputs.prediction, what: "output", expected: fixture.output }, ...gradients];
}

function prepare(fixture: Fixture) {
  const graph = graphOf(fixture);
  const weights = new Float32Array(parameterLength(graph));
  for (const { name, offset } of graph.parameters) {
    const values = fixture.parameters[name.split(".")[1]];
    if (values !== undefined) weights.set(values, offset);
  }
  const inputs = { x: fixture.x, y: fixture.y, weight: Array.from({ length: fixture.batch }, () => 1) };
  return { graph, weights, inputs, expected: expectations(graph, fixture) };
}

async function runOnOnnx(graph: TrainingGraph, batch: number, inputs: Inputs, weights: Float32Array) {
  // The prediction takes the loss's place among the outputs: it is compared, too.
  const outputs = { ...graph.outputs, loss: graph.outputs.prediction };
  const model = lowerTraining({ ...graph, outputs }, batch);
  const types = inferShapes(graph, batch);
  const session = await runtime.createSession(model.bytes);
  const feeds: Record<string, ReturnType<typeof runtime.createTensor>> = {};
  for (const [index, name] of [...model.inputs, ...model.parameters].entries()) {
    if (name === null) continue;
    const { shape } = types[index];
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    const parameter = graph.parameters[index - graph.inputs.length];
    const data =
      parameter === undefined
        ? Float32Array.from(inputs[graph.inputs[index].name])
        : weights.slice(parameter.offset, parameter.offset + size);
    feeds[name] = runtime.createTensor("float32", data, shape);
  }
  const results = await session.run(feeds);
  await session.release();
  const [prediction, , ...gradients] = model.outputs.map((name) => results[name].data as Float32Array);
  return new Map([
    [graph.outputs.prediction, prediction],
    ...graph.gradients.flatMap((id) => (id === null ? [] : [[id, gradients.shift()!] as const])),
  ]);
}

describe("layers with windows agree with PyTorch: outputs and all gradients", () => {
  it("in every layer that has windows", () => {
    const layers = new Set(fixtures.map(({ layer }) => layer));
    expect([...layers].sort()).toEqual(
      [
        "adaptiveAvgPool2d",
        "avgPool1d",
        "avgPool2d",
        "conv1d",
        "conv2d",
        "convTranspose2d",
        "maxPool1d",
        "maxPool2d",
      ].sort(),
    );
  });

  it.each(fixtures.map((fixture) => [fixture.name, fixture] as const))("%s", async (_, fixture) => {
    const { graph, weights, inputs, expected } = prepare(fixture);
    const reference = runReference(graph, fixture.batch, inputs, weights);
    const ids = expected.map(({ id }) => id);
    const onGpu = await runOnGpu(gpu, graph, ids, { microBatch: fixture.batch, inputs, weights });
    const onOnnx = await runOnOnnx(graph, fixture.batch, inputs, weights);
    for (const { id, what, expected: numbers } of expected) {
      expect(reference[id], what).toHaveLength(numbers.length);
      expect(relativeError(reference[id], numbers), `${what}, float64`).toBeLessThanOrEqual(1e-10);
      expect(relativeError(onGpu.get(id)!, numbers), `${what}, WGSL`).toBeLessThanOrEqual(1e-5);
      expect(relativeError(onOnnx.get(id)!, numbers), `${what}, ONNX`).toBeLessThanOrEqual(1e-5);
    }
  });
});

describe("a whole network of them", () => {
  it("has the reference's output and gradients on WGSL and ONNX", async () => {
    const model = nn.sequential(
      nn.conv2d(2, 6, 3, { padding: 1 }), // [N, 6, 9, 8]
      nn.tanh(),
      nn.maxPool2d(3, { stride: 2, padding: 1 }), // [N, 6, 5, 4]
      nn.parallel(
        nn.conv2d(6, 6, 3, { padding: 1, groups: 6 }),
        nn.conv2d(6, 3, 1),
        nn.avgPool2d(3, { stride: 1, padding: 1 }),
      ),
      nn.sigmoid(),
      nn.convTranspose2d(15, 4, 3, { stride: 2 }), // [N, 4, 11, 9]
      nn.adaptiveAvgPool2d([4, 3]),
      nn.slice(1, 0, 4, 2), // [N, 2, 4, 3]
      nn.permute(0, 2, 3, 1),
      nn.flatten(),
      nn.linear(24, 5),
    );
    const batch = 3;
    const graph = differentiate(buildGraph({ model, loss: loss.mse(), input: [2, 9, 8] }), batch);
    const weights = initialize(graph, 2);
    const inputs = { x: numbers(3, batch * 144), y: numbers(4, batch * 5), weight: [1, 0, 0.5] };
    const reference = runReference(graph, batch, inputs, weights);
    const ids = [graph.outputs.prediction, ...graph.gradients.filter((id) => id !== null)];
    expect(ids).toHaveLength(11);
    const onGpu = await runOnGpu(gpu, graph, ids, { microBatch: batch, inputs, weights });
    const onOnnx = await runOnOnnx(graph, batch, inputs, weights);
    for (const id of ids) {
      expect(relativeError(onGpu.get(id)!, reference[id]), `value ${id}, WGSL`).toBeLessThanOrEqual(1e-5);
      expect(relativeError(onOnnx.get(id)!, reference[id]), `value ${id}, ONNX`).toBeLessThanOrEqual(1e-5);
    }
  });
});
