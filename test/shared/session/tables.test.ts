import { describe, expect, it } from "vitest";
import { inferenceGraph, runReference } from "../../../shared/graph/index.ts";
import { tableSizes } from "../../../shared/graph/parameters.ts";
import { GraphError, validateGraph } from "../../../shared/graph/validate.ts";
import { buildGraph, dataset, defineSession, type Loss, loss, nn, optim } from "../../../shared/nn/index.ts";
import { confusionRows, figuresOfTables, ROC_BINS } from "../../../shared/session/tables.ts";
import { parseDefinition } from "../../../shared/session/validate.ts";
import { coordinatorBudget } from "../../../workers/limits.ts";

/** Numbers from −1 to 1 that follow from the seed alone. */
function numbers(seed: number, count: number): number[] {
  let state = seed * 2654435761 + 12345;
  return Array.from({ length: count }, () => {
    state = Math.imul(state ^ (state >>> 15), 2246822519) + 0x9e3779b9;
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 31 - 1;
  });
}

/**
 * Tables of samples whose predictions are their inputs, summed over parts of the given sizes.
 * @param x one row a sample; shape [N, ...shape]
 */
function tablesOf(
  made: Loss,
  shape: readonly number[],
  x: readonly (readonly number[])[],
  y: readonly (readonly number[])[],
  parts: readonly number[],
): Record<string, number[]> {
  const width = x[0]!.length;
  const reshape = { kind: "reshape", build: (to: never, input: number) => emitReshape(to, input, shape) };
  const identity = Float64Array.from({ length: width * width }, (_, at) => (at % (width + 1) === 0 ? 1 : 0));
  const graph = inferenceGraph(
    buildGraph({
      model: nn.sequential(nn.linear(width, width, { bias: false }), reshape),
      loss: made,
      input: [width],
    }),
  );
  const sums: Record<string, number[]> = {};
  let from = 0;
  for (const samples of parts) {
    // A sample of weight 0 stands for padding.
    const inputs = {
      x: [...x.slice(from, from + samples), x[0]!].flat(),
      y: [...y.slice(from, from + samples), y[0]!].flat(),
      weight: [...new Array<number>(samples).fill(1), 0],
    };
    const values = runReference(graph, samples + 1, inputs, identity);
    for (const { name, value } of tableSizes(graph)) {
      sums[name] = Array.from(values[value]!, (count, at) => count + (sums[name]?.[at] ?? 0));
    }
    from += samples;
  }
  return sums;
}

const emitReshape = (
  to: { emit(op: string, inputs: number[], attributes: object): number },
  input: number,
  shape: readonly number[],
): number => to.emit("Reshape", [input], { shape: [0, ...shape] });

/** The share of pairs in which the positive one scores higher, ties as one half: by looking at every pair. */
function exactArea(scores: readonly number[], positive: readonly boolean[]): number {
  const [ups, downs] = [true, false].map((side) => scores.filter((_, at) => positive[at] === side));
  let sum = 0;
  for (const up of ups!) for (const down of downs!) sum += up > down ? 1 : up === down ? 0.5 : 0;
  return sum / (ups!.length * downs!.length);
}

const SAMPLES = 400;
const CUTS = [[SAMPLES], [1, 399], [200, 100, 50, 50]];

describe("the area under the ROC curve", () => {
  const positive = numbers(1, SAMPLES).map((value) => value > 0.3);
  const logits = numbers(2, SAMPLES).map((value, at) => 3 * value + (positive[at] ? 1 : 0));
  const probabilities = logits.map((logit) => 1 / (1 + Math.exp(-logit)));
  const targets = positive.map((side) => [side ? 1 : 0]);
  const cases: Readonly<Record<string, readonly [Loss, readonly number[], number[][]]>> = {
    bce: [loss.bce({ metrics: ["auc"] }), [1], probabilities.map((p) => [p])],
    bceWithLogits: [loss.bceWithLogits({ metrics: ["auc"], posWeight: 3 }), [1], logits.map((logit) => [logit])],
    crossEntropy: [
      loss.crossEntropy({ metrics: ["auc"], classWeights: [1, 5] }),
      [2],
      logits.map((logit) => [1, logit + 1]),
    ],
    nll: [loss.nll({ metrics: ["auc"] }), [2], probabilities.map((p) => [Math.log(1 - p), Math.log(p)])],
  };
  for (const [name, [made, shape, x]] of Object.entries(cases)) {
    it(`of ${name} lies within its stated error of what all pairs say, however the samples are cut`, () => {
      const y = shape[0] === 2 ? positive.map((side) => [side ? 1 : 0]) : targets;
      const found = CUTS.map((parts) => figuresOfTables(tablesOf(made, shape, x, y, parts)));
      expect(found[1]).toEqual(found[0]);
      expect(found[2]).toEqual(found[0]);
      const { auc, aucError } = found[0]!;
      const exact = exactArea(logits, positive);
      expect(Math.abs(auc! - exact)).toBeLessThanOrEqual(aucError! + 1e-12);
      expect(aucError).toBeLessThan(0.01);
      expect(aucError).toBeGreaterThan(0);
    });
  }

  it("is one half where nothing is told apart, 1 where everything is, and not there where one class is missing", () => {
    const area = (scores: readonly number[], y: readonly number[]): Record<string, number> =>
      figuresOfTables(
        tablesOf(
          loss.bceWithLogits({ metrics: ["auc"] }),
          [1],
          scores.map((score) => [score]),
          y.map((side) => [side]),
          [scores.length],
        ),
      );
    expect(area([2, 2, 2, 2], [0, 1, 0, 1])).toEqual({ auc: 0.5, aucError: 0.5 });
    expect(area([-3, -2, 2, 99], [0, 0, 1, 1])).toEqual({ auc: 1, aucError: 0 });
    expect(area([-99, 40, 50, -60], [1, 0, 0, 1])).toEqual({ auc: 0, aucError: 0 });
    expect(area([1, 2], [1, 1])).toEqual({});
  });

  it("counts every sample above the first edge and in as many bins as there are", () => {
    const { roc } = tablesOf(
      loss.bceWithLogits({ metrics: ["auc"] }),
      [1],
      [[-1e9], [0.3], [1e9]],
      [[0], [1], [1]],
      [3],
    );
    expect(roc).toHaveLength(2 * ROC_BINS);
    expect([roc![0], roc![ROC_BINS]]).toEqual([1, 2]);
  });
});

describe("a confusion matrix", () => {
  const CLASSES = 4;
  const x = Array.from({ length: SAMPLES }, (_, at) => numbers(10 + at, CLASSES));
  const y = numbers(5, SAMPLES).map((value) => [Math.floor(((value + 1) / 2) * CLASSES)]);

  it("has the true class by row and the largest score by column, and leaves out what is ignored and padding", () => {
    const expected = Array.from({ length: CLASSES }, () => new Array<number>(CLASSES).fill(0));
    for (const [at, row] of x.entries()) {
      const [target] = y[at]!;
      if (target !== 2) expected[target!]![row.indexOf(Math.max(...row))]! += 1;
    }
    const made = loss.crossEntropy({ metrics: ["confusion"], ignoreIndex: 2, classWeights: [1, 2, 3, 4] });
    for (const parts of CUTS) {
      const { confusion } = tablesOf(made, [CLASSES], x, y, parts);
      expect(confusionRows(confusion!)).toEqual(expected);
    }
  });

  it("counts tokens like samples", () => {
    // Two tokens a sample, classes in the middle: [N, 2 classes, 2 tokens].
    const tokens = [
      [3, 1, 2, 4], // class 0 scores 3 and 1, class 1 scores 2 and 4: predictions 0 and 1
      [0, 5, 1, 2], // 1 and 0
    ];
    const { confusion, roc } = tablesOf(
      loss.crossEntropy({ metrics: ["confusion", "auc"] }),
      [2, 2],
      tokens,
      [
        [0, 0],
        [1, -100],
      ],
      [2],
    );
    expect(confusionRows(confusion!)).toEqual([
      [1, 1],
      [0, 1],
    ]);
    expect([roc![0], roc![ROC_BINS]]).toEqual([2, 1]);
  });

  it("of yes and no has the elements on either side of the threshold", () => {
    const p = [[0.9], [0.2], [0.6], [0.5]];
    const truth = [[1], [1], [0], [0]];
    for (const [made, score] of [
      [loss.bce({ metrics: ["confusion"] }), (value: number) => value],
      [loss.bceWithLogits({ metrics: ["confusion"] }), (value: number) => Math.log(value / (1 - value))],
    ] as const) {
      const { confusion } = tablesOf(
        made,
        [1],
        p.map(([value]) => [score(value!)]),
        truth,
        [1, 3],
      );
      expect(confusionRows(confusion!)).toEqual([
        [1, 1],
        [1, 1],
      ]);
    }
  });

  it("has at most 32 classes, and an area under the curve only two", () => {
    const of = (made: Loss, classes: number) => () =>
      buildGraph({ model: nn.linear(3, classes), loss: made, input: [3] });
    expect(of(loss.crossEntropy({ metrics: ["confusion"] }), 32)).not.toThrow();
    expect(of(loss.crossEntropy({ metrics: ["confusion"] }), 33)).toThrow("would have 33 classes, the limit is 32");
    expect(of(loss.crossEntropy({ metrics: ["auc"] }), 3)).toThrow("crossEntropy's auc is of two classes, there are 3");
  });
});

describe("a graph with tables", () => {
  const graph = buildGraph({
    model: nn.linear(3, 2),
    loss: loss.crossEntropy({ metrics: ["confusion", "auc"] }),
    input: [3],
  });
  const budget = { ...coordinatorBudget, microBatch: 4 };

  it("passes the check that it has after it was text", () => {
    expect(validateGraph(JSON.parse(JSON.stringify(graph)), budget)).toEqual(graph);
  });

  it("is refused where a table is not what it says, or more than may travel", () => {
    const { tables } = graph.outputs;
    const confusion = tables!.confusion!;
    const withTables = (changed: object) => () =>
      validateGraph(JSON.parse(JSON.stringify({ ...graph, outputs: { ...graph.outputs, tables: changed } })), budget);
    expect(withTables({ confusion: { ...confusion, shape: [4] } })).toThrow(GraphError);
    expect(withTables({ confusion: { ...confusion, value: 9_999 } })).toThrow("table confusion is no value");
    expect(withTables({ confusion: { ...confusion, shape: [2, 2, 1] } })).toThrow(GraphError);
    const { roc } = tables!;
    expect(withTables({ a: roc, b: roc, c: roc, d: roc })).toThrow("2048 numbers in tables, the limit is 1536");
  });

  it("gives early stopping a figure to look at", () => {
    const session = defineSession({
      title: "By the area under the curve",
      model: nn.linear(3, 2),
      input: [3],
      loss: loss.crossEntropy({ metrics: ["auc"] }),
      optimizer: optim.sgd({ lr: 0.1 }),
      data: dataset("d", { x: "x", y: "y", train: [0, 8], validation: [8, 12] }),
      batchSize: 4,
      epochs: 2,
      earlyStopping: { metric: "auc", patience: 1 },
    });
    expect(parseDefinition(JSON.parse(JSON.stringify(session)), coordinatorBudget)).toEqual(session);
  });
});
