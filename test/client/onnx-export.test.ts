import { describe, expect, it } from "vitest";
import { exportOnnx } from "../../client/engine/onnx/export.ts";
import { ModelWriter } from "../../client/engine/onnx/model.ts";
import {
  type Graph,
  givenWeights,
  inferenceGraph,
  initialize,
  runReference,
  sizeOf,
} from "../../shared/graph/index.ts";
import { buildGraph, loss, type Module, nn } from "../../shared/nn/index.ts";
import { parseModel } from "../../shared/onnx/model.ts";
import { onnxModule } from "../../shared/onnx/module.ts";
import { EXPORTED, inputOf, modelFile, stateDictOf } from "../shared/onnx/cases.ts";
import { runtime } from "./onnxruntime.ts";
import { numbers, relativeError } from "./webgpu-run.ts";

/** What onnxruntime makes of the exported model. */
async function runExported(
  graph: Graph,
  weights: Float32Array,
  x: Float32Array | Int32Array,
  shape: readonly number[],
) {
  const { bytes, inputs, output } = exportOnnx(graph, weights);
  const session = await runtime.createSession(bytes);
  try {
    const feeds = { [inputs[0]!]: runtime.createTensor(x instanceof Int32Array ? "int32" : "float32", x, shape) };
    return (await session.run(feeds))[output]!.data as Float32Array;
  } finally {
    await session.release();
  }
}

async function expectSame(graph: Graph, weights: Float32Array, input: readonly number[]): Promise<void> {
  const isInteger = graph.inputs[0]!.dtype === "int32";
  for (const batch of [1, 7]) {
    const given = numbers(batch + 3, batch * sizeOf(input));
    // Indices from −2 to 7: some are of no row.
    const x = isInteger ? Int32Array.from(given, (value) => Math.floor(5 * value + 3)) : given;
    const inference = inferenceGraph(graph);
    const expected = runReference(inference, batch, { x }, weights)[inference.outputs.prediction]!;
    const got = await runExported(graph, weights, x, [batch, ...input]);
    expect(relativeError(Float64Array.from(got), expected), `batch ${batch}`).toBeLessThan(1e-5);
  }
}

const MODELS: Readonly<
  Record<string, { readonly model: Module; readonly input: readonly number[]; readonly dtype?: "int32" }>
> = {
  "an embedding, of indices in and out of its table": {
    model: nn.sequential(nn.embedding(5, 4), nn.linear(4, 2)),
    input: [3],
    dtype: "int32",
  },
  "a classifier with dropout and GELU": {
    model: nn.sequential(nn.flatten(), nn.linear(12, 9), nn.gelu(), nn.dropout(0.4), nn.linear(9, 4)),
    input: [3, 4],
  },
  "a residual network": {
    model: nn.sequential(nn.linear(6, 8), nn.residual(nn.sequential(nn.linear(8, 8), nn.tanh())), nn.linear(8, 1)),
    input: [6],
  },
  "a model that broadcasts a constant over the batch": {
    model: nn.sequential(nn.linear(3, 3), {
      kind: "test",
      build: (to, x) => to.emit("Add", [x, to.emit("Expand", [to.constant(2)], { shape: ["N", 3] })], {}),
    }),
    input: [3],
  },
};

describe("models exported as ONNX give the same outputs in onnxruntime, whatever the batch", () => {
  for (const [name, { model, input, dtype = "float32" }] of Object.entries(MODELS)) {
    it(name, async () => {
      const graph = buildGraph({ model, loss: loss.mse(), input: { x: { dtype, shape: input } } });
      await expectSame(graph, initialize(graph, 3), input);
    });
  }

  for (const [name, given] of Object.entries(EXPORTED)) {
    it(`PyTorch's ${name}, imported and exported again`, async () => {
      const model = onnxModule(modelFile(name), { stateDict: stateDictOf(given) });
      const graph = buildGraph({ model, loss: loss.mse(), input: inputOf(given) });
      const weights = givenWeights(graph)!;
      await expectSame(graph, weights, given.input);
      const x = given.dtype === "int32" ? Int32Array.from(given.x) : Float32Array.from(given.x);
      const got = await runExported(graph, weights, x, [5, ...given.input]);
      expect(relativeError(Float64Array.from(got), Float64Array.from(given.y))).toBeLessThan(1e-5);
      // And once more through our own reader: names and values survive.
      const again = onnxModule(exportOnnx(graph, weights).bytes);
      const second = buildGraph({ model: again, loss: loss.mse(), input: inputOf(given) });
      const valuesOf = (held: Graph) =>
        Object.fromEntries(
          held.parameters.map(({ name: key, shape, offset }) => [
            key,
            [...givenWeights(held)!.subarray(offset, offset + sizeOf(shape))],
          ]),
        );
      expect(valuesOf(second)).toEqual(valuesOf(graph));
    });
  }

  it("of several megabytes are written at once", () => {
    const to = new ModelWriter();
    to.initializer(numbers(1, 1_000_000), [1000, 1000], "w");
    const [tensor] = parseModel(to.finish()).initializers;
    expect([tensor!.name, tensor!.shape]).toEqual(["w", [1000, 1000]]);
    expect(tensor!.data[999_999]).toBe(numbers(1, 1_000_000)[999_999]);
  });
});
