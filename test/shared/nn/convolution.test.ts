import { describe, expect, it } from "vitest";
import { type Graph, GraphError, inferShapes, runReference } from "../../../shared/graph/index.ts";
import { buildGraph, loss, type Module, nn } from "../../../shared/nn/index.ts";

const graphOf = (model: Module, input: readonly number[]): Graph => buildGraph({ model, loss: loss.mse(), input });

/** The prediction of 0, 1, 2, … as one sample, or as several. */
function predict(model: Module, input: readonly number[], samples = 1): { shape: readonly number[]; values: number[] } {
  const graph = graphOf(model, input);
  const size = samples * input.reduce((product, dimension) => product * dimension, 1);
  const x = Float64Array.from({ length: size }, (_, index) => index);
  const { prediction } = graph.outputs;
  const values = runReference(graph, samples, { x }, [])[prediction];
  return { shape: inferShapes(graph, samples)[prediction].shape, values: [...values] };
}

describe("parameters of convolutions", () => {
  it("have PyTorch's names, shapes and first values", () => {
    const model = nn.sequential(
      nn.conv2d(4, 6, [3, 2], { groups: 2 }),
      nn.convTranspose2d(6, 4, 2, { groups: 2 }),
      nn.reshape(4, -1),
      nn.conv1d(4, 2, 5, { bias: false }),
    );
    const { parameters } = graphOf(model, [4, 8, 8]);
    expect(parameters.map(({ name, shape, init }) => [name, shape, init])).toEqual([
      ["0.weight", [6, 2, 3, 2], { kind: "uniform", bound: 1 / Math.sqrt(12) }],
      ["0.bias", [6], { kind: "uniform", bound: 1 / Math.sqrt(12) }],
      // PyTorch takes the second axis for the fan in, of transposed weights, too.
      ["1.weight", [6, 2, 2, 2], { kind: "uniform", bound: 1 / Math.sqrt(8) }],
      ["1.bias", [4], { kind: "uniform", bound: 1 / Math.sqrt(8) }],
      ["3.weight", [2, 4, 5], { kind: "uniform", bound: 1 / Math.sqrt(20) }],
    ]);
  });
});

describe("layers that move elements", () => {
  it("reshape and permute keep the samples apart", () => {
    const { shape, values } = predict(nn.sequential(nn.reshape(2, -1), nn.permute(0, 2, 1)), [6], 2);
    expect(shape).toEqual([2, 3, 2]);
    expect(values).toEqual([0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
  });

  it("slice takes every step-th element of an axis", () => {
    expect(predict(nn.slice(1, 1, 6, 2), [7], 2)).toEqual({ shape: [2, 3], values: [1, 3, 5, 8, 10, 12] });
  });

  it("parallel puts any number of branches side by side, named by index", () => {
    const pieces = Array.from({ length: 19 }, (_, index) => nn.slice(1, 18 - index, 19 - index));
    expect(predict(nn.parallel(...pieces), [19]).values).toEqual(Array.from({ length: 19 }, (_, index) => 18 - index));
    const { parameters } = graphOf(nn.parallel(nn.conv1d(1, 2, 1), nn.conv1d(1, 3, 1)), [1, 4]);
    expect(parameters.map(({ name }) => name)).toEqual(["0.weight", "0.bias", "1.weight", "1.bias"]);
  });
});

const REFUSED: readonly (readonly [string, () => unknown, RegExp])[] = [
  [
    "other channels",
    () => graphOf(nn.sequential(nn.conv2d(3, 4, 3)), [1, 8, 8]),
    /layer 0 \(conv2d\): expected input \[N, 3, H, W\], got \[N, 1, 8, 8\]/,
  ],
  [
    "another rank",
    () => graphOf(nn.sequential(nn.maxPool1d(2)), [1, 8, 8]),
    /layer 0 \(maxPool1d\): expected input \[N, C, L\], got \[N, 1, 8, 8\]/,
  ],
  [
    "nothing left",
    () => graphOf(nn.sequential(nn.conv2d(1, 4, 9)), [1, 8, 8]),
    /layer 0: .*nothing is left.*takes 9 elements/,
  ],
  [
    "groups that do not divide",
    () => nn.conv2d(3, 4, 3, { groups: 2 }),
    /3 and 4 channels do not divide into 2 groups/,
  ],
  ["no kernel", () => nn.conv1d(1, 1, 0), /conv1d's kernel size is 0, expected an integer, at least 1/],
  [
    "a kernel of three axes",
    () => nn.maxPool2d([2, 2, 2]),
    /kernel size is \[2,2,2\], expected an integer or 2 of them/,
  ],
  [
    "a strided padding of the same size",
    () => nn.conv2d(1, 1, 3, { stride: 2, padding: "same" }),
    /"same" keeps the size/,
  ],
  ["axes that move the samples", () => nn.permute(1, 0), /expected 0, the sample's axis, first/],
  ["no modules", () => nn.parallel(), /number of parallel modules is 0/],
];

describe("what does not fit is refused", () => {
  it.each(REFUSED)("%s", (_, make, message) => {
    expect(make).toThrow(GraphError);
    expect(make).toThrow(message);
  });
});
