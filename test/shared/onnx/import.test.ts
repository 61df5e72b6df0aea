import { describe, expect, it } from "vitest";
import { ModelWriter } from "../../../client/engine/onnx/model.ts";
import {
  differentiate,
  type Graph,
  givenWeights,
  runReference,
  sizeOf,
  validateGraph,
} from "../../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../../shared/nn/index.ts";
import { onnxModule } from "../../../shared/onnx/module.ts";
import { relativeError } from "../graph/finite-differences.ts";
import { EXPORTED, type ExportedCase, inputOf, modelFile, stateDictOf } from "./cases.ts";

const BATCH = 5;

function importGraph(name: string, given: ExportedCase): Graph {
  const model = onnxModule(modelFile(name), { stateDict: stateDictOf(given) });
  const graph = buildGraph({ model, loss: loss.mse(), input: inputOf(given) });
  // What a coordinator would read.
  validateGraph(JSON.parse(JSON.stringify(graph)), { parameters: 10_000, nodes: 2_000, microBatch: BATCH });
  return graph;
}

const inputsOf = ({ x, target }: ExportedCase) => ({ x, y: target, weight: new Array<number>(BATCH).fill(1) });

describe("models that PyTorch exported", () => {
  for (const [name, given] of Object.entries(EXPORTED)) {
    describe(name, () => {
      const graph = importGraph(name, given);
      const weights = givenWeights(graph)!;

      it("has the names and values of its state_dict", () => {
        const { stateDict } = given;
        const held = Object.fromEntries(
          graph.parameters
            .filter((parameter) => parameter.name in stateDict)
            .map(({ name: key, shape, offset }) => [
              key,
              { shape, values: [...weights.subarray(offset, offset + sizeOf(shape))] },
            ]),
        );
        expect(Object.keys(held).sort()).toEqual(Object.keys(stateDict).sort());
        for (const [key, { shape, values }] of Object.entries(stateDict)) {
          expect(held[key]!.shape, key).toEqual(shape);
          expect(held[key]!.values, key).toEqual(values.map(Math.fround));
        }
      });

      it("predicts what it does in PyTorch, whatever the batch", () => {
        const values = runReference(graph, BATCH, inputsOf(given), weights);
        expect(relativeError(values[graph.outputs.prediction]!, given.y)).toBeLessThan(1e-6);
        const one = runReference(graph, 1, { x: given.x.slice(0, sizeOf(given.input)) }, weights);
        const first = given.y.slice(0, given.y.length / BATCH);
        expect(relativeError(one[graph.outputs.prediction]!, first)).toBeLessThan(1e-6);
      });

      it("has PyTorch's gradients, and none for buffers", () => {
        const training = differentiate(graph, BATCH);
        const values = runReference(training, BATCH, inputsOf(given), weights);
        const [denominator] = values[training.outputs.weight]!;
        for (const [key, expected] of Object.entries(given.gradients)) {
          const index = graph.parameters.findIndex((parameter) => parameter.name === key);
          const gradient = values[training.gradients[index]!]!.map((value) => value / denominator!);
          expect(relativeError(gradient, expected), key).toBeLessThan(1e-6);
        }
        const trained = graph.parameters.filter(({ trainable }) => trainable).map(({ name: key }) => key);
        expect(trained.sort()).toEqual(Object.keys(given.gradients).sort());
      });
    });
  }

  it("stand wherever a layer does, and may be frozen", () => {
    const model = nn.sequential(onnxModule(modelFile("mlp"), { frozen: ["0."] }), nn.relu(), nn.linear(2, 3));
    const graph = buildGraph({ model, loss: loss.crossEntropy(), input: [5] });
    expect(graph.parameters.map(({ name, trainable, init }) => [name, trainable, init.kind])).toEqual([
      ["0.0.weight", false, "given"],
      ["0.0.bias", false, "given"],
      ["0.2.weight", true, "given"],
      ["0.2.bias", true, "given"],
      ["0.4.weight", true, "given"],
      ["0.4.bias", true, "given"],
      ["2.weight", true, "uniform"],
      ["2.bias", true, "uniform"],
    ]);
  });

  it("keep their own names where no state_dict is given", () => {
    const graph = buildGraph({ model: onnxModule(modelFile("rows")), loss: loss.mse(), input: [12] });
    const names = graph.parameters.map(({ name }) => name);
    expect(names).toContain("leave.weight");
    expect(names.some((name) => name.startsWith("onnx::MatMul_"))).toBe(true);
  });

  it("keep samples apart where a batch of 1 went through the middle of a shape", () => {
    // As attention is written: [N, 6] → [2, N, 3] → [2, 3] → [2, N, 3] → [N, 6].
    const to = new ModelWriter();
    to.input("x", "float32", [1, 6]);
    to.initializer(
      Float32Array.from({ length: 36 }, (_, at) => (at % 7 === 0 ? 1 : 0)),
      [6, 6],
      "identity",
    );
    const reshape = (from: string, shape: readonly number[], name: string) =>
      to.node("Reshape", [from, to.integers(shape)], name);
    to.node("MatMul", ["x", "identity"], "a");
    reshape("a", [1, 2, 3], "b");
    to.node("Transpose", ["b"], "c", { perm: { ints: [1, 0, 2] } });
    reshape("c", [2, 3], "d");
    reshape("d", [2, 1, 3], "e");
    to.node("Transpose", ["e"], "f", { perm: { ints: [1, 0, 2] } });
    reshape("f", [1, -1], "y");
    to.output("y", "float32", [1, 6]);
    const graph = buildGraph({ model: onnxModule(to.finish()), loss: loss.mse(), input: [6] });
    const x = Array.from({ length: 24 }, (_, at) => at);
    const values = runReference(graph, 4, { x }, givenWeights(graph)!);
    expect([...values[graph.outputs.prediction]!]).toEqual(x);
  });

  it("take several inputs by their names, and integers as numbers where they are computed with", () => {
    // Rows of a table by index, those counted that a mask keeps, and not those of index 1.
    const to = new ModelWriter();
    to.input("ids", "int64", ["N", 3]);
    to.input("attention_mask", "int64", ["N", 3]);
    to.initializer(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2], "table");
    to.node("Gather", ["table", "ids"], "rows");
    to.node("Equal", ["ids", to.integers([1])], "isOne");
    to.node("Not", ["isOne"], "isOther");
    to.node("Cast", ["isOther"], "other", { to: { int: 1 } });
    to.node("Cast", ["attention_mask"], "mask", { to: { int: 1 } });
    to.node("Mul", ["mask", "other"], "kept");
    to.node("Unsqueeze", ["kept", to.integers([-1])], "column");
    to.node("Mul", ["rows", "column"], "left");
    to.node("ReduceSum", ["left", to.integers([1])], "y", { keepdims: { int: 0 } });
    to.output("y", "float32", ["N", 2]);
    const model = onnxModule(to.finish());
    const token = { dtype: "int32", shape: [3] } as const;
    const input = { ids: token, attention_mask: token };
    const graph = buildGraph({ model, loss: loss.mse(), input });
    const data = { ids: [0, 1, 2, 2, 2, 0], attention_mask: [1, 1, 1, 1, 0, 1] };
    const values = runReference(graph, 2, data, givenWeights(graph)!);
    expect([...values[graph.outputs.prediction]!]).toEqual([1 + 5, 2 + 6, 5 + 1, 6 + 2]);

    const asFloats = () => buildGraph({ model, loss: loss.mse(), input: { ...input, attention_mask: { shape: [3] } } });
    expect(asFloats).toThrow("the ONNX model takes attention_mask as int32, and it is float32");
    const alone = () => buildGraph({ model, loss: loss.mse(), input: { ids: token } });
    expect(alone).toThrow("the model has no input attention_mask");
  });

  it("are refused where the input does not fit", () => {
    const build = () => buildGraph({ model: onnxModule(modelFile("mlp")), loss: loss.mse(), input: [6] });
    expect(build).toThrow("the ONNX model takes features [N, 5], got [N, 6]");
  });
});
