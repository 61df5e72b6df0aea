/** Models that read tokens, several inputs, and one weight in two places: from the session file to what trains. */

import { describe, expect, it } from "vitest";
import { estimateCost, GraphError, parameterLength, runReference } from "../../../shared/graph/index.ts";
import { buildGraph, dataset, defineSession, loss, type Module, nn, optim } from "../../../shared/nn/index.ts";
import { parseDefinition } from "../../../shared/session/validate.ts";
import { automaticGradient, numericGradient, relativeError } from "../graph/finite-differences.ts";

const BUDGET = { parameters: 3_000_000, nodes: 2_000 };

const tokens = { dtype: "int32", shape: [4] } as const;

const shaped = (shape: readonly number[]): Module => ({
  kind: "reshape",
  build: (to, input) => to.emit("Reshape", [input], { shape: [-1, ...shape] }),
});

/** Two inputs, a padding mask, learned positions, dropout, and a head tied to the embedding. */
function language(): Module {
  const table = nn.embedding(5, 6, { std: 0.5 });
  return nn.sequential(
    table,
    nn.learnedPositions(4, 6),
    nn.transformerBlock(6, 2, { dimFeedforward: 8, activation: "gelu", causal: true, paddingMask: "mask" }),
    nn.sum(nn.layerNorm(6), nn.rmsNorm(6), nn.sequential(nn.input("bias"), shaped([1, 6]))),
    nn.linear(6, 5, { bias: false, weightOf: table }),
  );
}

const input = { tokens, mask: tokens, bias: { shape: [6] } } as const;
const graph = buildGraph({ model: language(), loss: loss.mse(), input });

describe("a model with several inputs", () => {
  it("names them in the graph, before the targets and weights", () => {
    expect(graph.inputs.map(({ name, dtype, shape }) => `${name} ${dtype} ${shape}`)).toEqual([
      "tokens int32 N,4",
      "mask int32 N,4",
      "bias float32 N,6",
      "y float32 N,4,5",
      "weight float32 N",
    ]);
  });

  it("is read back from JSON as it was defined, each input bound to its column", () => {
    const data = dataset("text", { inputs: { tokens: "t", mask: "m", bias: "b" }, y: "y", train: [0, 64] });
    const optimizer = optim.adam();
    const options = { title: "tokens", model: language(), loss: loss.mse(), input, optimizer, data };
    const definition = defineSession({ ...options, batchSize: 32, epochs: 1 });
    const read = parseDefinition(JSON.parse(JSON.stringify(definition)), BUDGET);
    expect(read).toEqual(definition);
    expect(Object.keys(read.data.inputs)).toEqual(["tokens", "mask", "bias", "y"]);
  });

  it("has the gradient of finite differences, tied weight and dropout included", () => {
    const inputs = {
      tokens: [0, 1, 4, 4, 2, 3, -1, 7],
      mask: [0, 0, 0, 0, 0, 0, 1, 1],
      bias: Array.from({ length: 12 }, (_, at) => Math.cos(at)),
      y: Array.from({ length: 40 }, (_, at) => Math.sin(at)),
      weight: [1, 0.5],
    };
    const weights = Float64Array.from({ length: parameterLength(graph) }, (_, at) => Math.sin(at * 1.7) * 0.7);
    const sample = { microBatch: 2, inputs, weights };
    expect(relativeError(automaticGradient(graph, sample), numericGradient(graph, sample))).toBeLessThan(1e-6);
  });

  it.each([
    ["an input that does not exist", nn.input("tokns"), { tokens }, "the model has no input tokns; there are tokens"],
    ["an input of the targets' name", nn.relu(), { y: { shape: [2] } }, "an input cannot be named y"],
    ["no input at all", nn.relu(), {}, "the model has no input, expected one or more"],
    ["floats as tokens", nn.embedding(3, 2), [4], "expected int32 indices, got float32"],
    [
      "a mask of another length",
      nn.multiheadAttention(2, 1, { paddingMask: "m" }),
      { x: { shape: [3, 2] }, m: tokens },
      "the padding mask m is int32 [N, 4], expected int32 [N, 3]",
    ],
    [
      "a mask of floats for a mean over tokens",
      nn.meanOverTokens({ paddingMask: "m" }),
      { x: { shape: [3, 2] }, m: { shape: [3] } },
      "(meanOverTokens): the padding mask m is float32 [N, 3], expected int32 [N, 3]",
    ],
    ["a mean over no tokens", nn.meanOverTokens(), [4], "(meanOverTokens): expected input [N, T, E], got [N, 4]"],
  ] as const)("refuses %s", (_, model, given, reason) => {
    const build = () => buildGraph({ model, loss: loss.mse(), input: given });
    expect(build).toThrow(GraphError);
    expect(build).toThrow(reason);
  });
});

describe("a tied weight", () => {
  it("is one tensor under both names", () => {
    const table = graph.parameters.filter(({ name, aliases = [] }) => [name, ...aliases].includes("4.weight"));
    expect(table).toMatchObject([{ name: "0.weight", aliases: ["4.weight"], shape: [5, 6] }]);
  });

  it("is refused where its owner comes later or has another shape", () => {
    const table = nn.embedding(5, 6);
    const build = (model: Module) => () => buildGraph({ model, loss: loss.mse(), input: [6] });
    expect(build(nn.linear(6, 5, { weightOf: table }))).toThrow(
      "weight is tied to the weight of a embedding that does not come before it",
    );
    const first = nn.linear(6, 6);
    expect(build(nn.sequential(first, nn.linear(6, 5, { weightOf: first })))).toThrow(
      "1.weight is [5,6], and 0.weight, which it is tied to, [6,6]",
    );
  });
});

describe("attention", () => {
  const length = 5;
  const width = 4;
  const outputsOf = (x: ArrayLike<number>): Float64Array => {
    const causal = buildGraph({
      model: nn.multiheadAttention(width, 2, { causal: true }),
      loss: loss.mse(),
      input: [length, width],
    });
    const weights = Float64Array.from({ length: parameterLength(causal) }, (_, at) => Math.sin(at));
    return runReference(causal, 1, { x }, weights)[causal.outputs.prediction];
  };

  it("that is causal gives exactly the same at a position whatever comes after", () => {
    const x = Float64Array.from({ length: length * width }, (_, at) => Math.cos(at * 3));
    const changed = x.map((value, at) => (at >= 3 * width ? value + 100 : value));
    const [before, after] = [outputsOf(x), outputsOf(changed)];
    expect(after.subarray(0, 3 * width)).toEqual(before.subarray(0, 3 * width));
    expect(after.subarray(3 * width)).not.toEqual(before.subarray(3 * width));
  });

  it("counts its products in the cost", () => {
    const attend = nn.multiheadAttention(8, 2);
    const { flops } = estimateCost(buildGraph({ model: attend, loss: loss.mse(), input: [16, 8] }), 3);
    const projections = 2 * 3 * 16 * 8 * (24 + 8);
    const products = 2 * (2 * 3 * 2 * 16 * 16 * 4);
    expect(flops).toBeGreaterThan(projections + products);
    expect(flops).toBeLessThan(2 * (projections + products));
  });
});

describe("refused sizes", () => {
  it.each([
    ["heads that do not divide", () => nn.multiheadAttention(6, 4), "6 does not divide into 4 heads"],
    ["groups that do not divide", () => nn.groupNorm(4, 6), "6 channels do not divide into 4 groups"],
    ["an empty normalized shape", () => nn.layerNorm([]), "layerNorm's shape is empty"],
  ] as const)("%s", (_, make, reason) => {
    expect(make).toThrow(reason);
  });

  it.each([
    ["layerNorm", nn.layerNorm([3, 4]), "(layerNorm): expected input [N, …, 3, 4], got [N, 2, 4]"],
    ["batchNorm", nn.batchNorm(3), "(batchNorm): expected input [N, 3, …], got [N, 2, 4]"],
    ["positions", nn.learnedPositions(3, 4), "(learnedPositions): expected input [N, 3, 4], got [N, 2, 4]"],
    ["attention", nn.multiheadAttention(6, 2), "(multiheadAttention): expected input [N, T, 6], got [N, 2, 4]"],
    ["linear", nn.linear(8, 2), "(linear): expected input [N, …, 8], got [N, 2, 4]; put nn.flatten() before it"],
  ] as const)("in %s, naming the layer", (_, model, reason) => {
    expect(() => buildGraph({ model, loss: loss.mse(), input: [2, 4] })).toThrow(reason);
  });
});
