import { describe, expect, it } from "vitest";
import { runReference } from "../../../shared/graph/index.ts";
import { buildGraph, type Loss, loss, nn } from "../../../shared/nn/index.ts";
import { figuresOf } from "../../../shared/session/figures.ts";

/** Figures of the samples, computed in parts of the given sizes whose sums are added. The predictions are the inputs. */
function figures(
  made: Loss,
  x: readonly (readonly number[])[],
  y: readonly (readonly number[])[],
  parts: readonly number[],
): Record<string, number> {
  const width = x[0].length;
  const graph = buildGraph({ model: nn.linear(width, width, { bias: false }), loss: made, input: [width] });
  const identity = Float64Array.from({ length: width * width }, (_, at) => (at % (width + 1) === 0 ? 1 : 0));
  const sums: Record<string, number> = {};
  let total = 0;
  let from = 0;
  for (const samples of parts) {
    const inputs = {
      x: x.slice(from, from + samples).flat(),
      y: y.slice(from, from + samples).flat(),
      weight: new Array<number>(samples).fill(1),
    };
    const values = runReference(graph, samples, inputs, identity);
    const { metrics, weight } = graph.outputs;
    for (const [name, id] of Object.entries(metrics)) sums[name] = (sums[name] ?? 0) + values[id][0];
    total += values[weight][0];
    from += samples;
  }
  return figuresOf(sums, total);
}

describe("figures", () => {
  const predicted = [[1], [2.5], [-1], [4], [0.5]];
  const measured = [[1.5], [2], [-2], [3], [0]];

  it("are the mean absolute error and the coefficient of determination, however the samples are cut", () => {
    const y = measured.flat();
    const mean = y.reduce((sum, value) => sum + value, 0) / y.length;
    const error = y.map((value, index) => value - predicted[index][0]);
    const square = (values: readonly number[]): number => values.reduce((sum, value) => sum + value * value, 0);
    const expected = { mae: 0.7, r2: 1 - square(error) / square(y.map((value) => value - mean)) };
    for (const parts of [[5], [1, 4], [2, 2, 1]]) {
      const got = figures(loss.l1({ metrics: ["mae", "r2"] }), predicted, measured, parts);
      expect(Object.keys(got).sort()).toEqual(["mae", "r2"]);
      expect(got.mae).toBeCloseTo(expected.mae, 12);
      expect(got.r2).toBeCloseTo(expected.r2, 12);
    }
  });

  it("are left out where they do not exist: R² of targets that are all the same", () => {
    const same = measured.map(() => [2]);
    expect(figures(loss.mse({ metrics: ["r2"] }), predicted, same, [5])).toEqual({});
  });

  const logits = [
    [3, 1, 2, 0],
    [0, 1, 2, 3],
    [2, 2, 2, 2],
    [5, 4, 3, 2],
  ];

  it("are accuracy, top-k and perplexity of the targets that count, without class weights and smoothing", () => {
    const made = loss.crossEntropy({
      classWeights: [1, 4, 0.5, 2],
      labelSmoothing: 0.1,
      metrics: ["top1", "top2", "top3", "perplexity"],
    });
    // Ranks of the targets: 0, 2, 1 others are larger; the last one is ignored.
    const y = [[0], [1], [0], [-100]];
    const got = figures(made, [logits[0], logits[1], logits[3].toReversed(), logits[3]], y, [3, 1]);
    const surprise = [
      [logits[0], 0],
      [logits[1], 1],
      [logits[3].toReversed(), 0],
    ].map(([row, at]) => {
      const values = row as number[];
      return Math.log(values.reduce((sum, value) => sum + Math.exp(value), 0)) - values[at as number];
    });
    const mean = surprise.reduce((sum, value) => sum + value, 0) / 3;
    expect(got.correct).toBeCloseTo(1 / 3, 12);
    expect(got.top1).toBeCloseTo(1 / 3, 12);
    expect(got.top2).toBeCloseTo(1 / 3, 12);
    expect(got.top3).toBeCloseTo(2 / 3, 12);
    expect(got.perplexity).toBeCloseTo(Math.exp(mean), 10);
  });

  it("count equal scores in favour of the target", () => {
    const got = figures(loss.crossEntropy({ metrics: ["top1"] }), [logits[2]], [[3]], [1]);
    expect(got).toEqual({ correct: 0, top1: 1 });
  });

  it("are means of sums that nothing is known of", () => {
    expect(figuresOf({ anything: 3 }, 4)).toEqual({ anything: 0.75 });
  });
});
