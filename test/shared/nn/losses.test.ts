import { describe, expect, it } from "vitest";
import { runReference } from "../../../shared/graph/index.ts";
import { errorsOf, graphOf, LOSS_CASES, makeLoss, prepare } from "./loss-cases.ts";

describe("losses and activations agree with PyTorch in float64", () => {
  for (const given of LOSS_CASES) {
    it(given.name, () => {
      const { graph, inputs, weights } = prepare(given);
      const values = runReference(graph, given.samples, inputs, weights);
      const errors = errorsOf(given, {
        loss: values[graph.outputs.loss][0],
        weight: values[graph.outputs.weight][0],
        prediction: values[graph.outputs.prediction],
        gradients: graph.gradients.map((id) => values[id!]),
      });
      expect(Math.max(...errors), errors.join(" ")).toBeLessThanOrEqual(1e-10);
    });
  }
});

/** Sums of a graph whose samples have these weights. */
function sumsOf(name: string, weight: readonly number[]): Record<string, number> {
  const given = LOSS_CASES.find((held) => held.name === name)!;
  const { graph, inputs, weights } = prepare(given);
  const values = runReference(graph, given.samples, { ...inputs, weight }, weights);
  const { loss, weight: denominator, metrics } = graph.outputs;
  return {
    loss: values[loss][0],
    weight: values[denominator][0],
    ...Object.fromEntries(Object.entries(metrics).map(([key, id]) => [key, values[id][0]])),
  };
}

describe("sums of losses", () => {
  it("are those of the samples one by one, times their weights, whatever the loss", () => {
    for (const { name, samples } of LOSS_CASES) {
      const weight = Array.from({ length: samples }, (_, index) => [0.5, 0, 2, 1][index % 4]);
      const whole = sumsOf(name, weight);
      const parts = weight.map((held, index) =>
        sumsOf(
          name,
          weight.map((_, other) => (other === index ? held : 0)),
        ),
      );
      for (const key of Object.keys(whole)) {
        const sum = parts.reduce((total, part) => total + part[key], 0);
        expect(Math.abs(sum - whole[key]), `${name}: ${key}`).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(sum)));
      }
    }
  });

  it("are zero, denominator included, where every target is ignored", () => {
    const graph = graphOf({ loss: "crossEntropy", options: { labelSmoothing: 0.1 }, activation: "none", shape: [4] });
    const values = runReference(
      graph,
      2,
      { x: new Array(10).fill(0.3), y: [-100, -100], weight: [1, 1] },
      new Float32Array(32).fill(0.2),
    );
    const { loss, weight, metrics } = graph.outputs;
    for (const id of [loss, weight, ...Object.values(metrics)]) expect(Math.abs(values[id][0])).toBe(0);
  });

  it("say how much weight one sample can have, where that is more than the number of its targets", () => {
    const largest = (options: object, shape: readonly number[]) =>
      graphOf({ loss: "crossEntropy", options, activation: "none", shape }).outputs.largestWeight;
    expect(largest({}, [3])).toBeUndefined();
    expect(largest({ classWeights: [0.5, 1, 0] }, [3])).toBeUndefined();
    expect(largest({ classWeights: [0.5, 7, 0] }, [3])).toBeCloseTo(7, 1);
    expect(largest({ classWeights: [0.5, 7, 0] }, [3, 10])).toBeCloseTo(70, 0);
    expect(largest({ classWeights: [0.5, 7, 0] }, [3])).toBeGreaterThan(7);
  });
});

describe("options of losses that do not fit are refused", () => {
  const build = (name: string, options: object, shape: readonly number[]) => () =>
    graphOf({ loss: name, options, activation: "none", shape });

  it("with what was expected and what came", () => {
    expect(build("crossEntropy", { classWeights: [1, 2] }, [3])).toThrow("has 2 numbers, expected 3");
    expect(build("crossEntropy", { classWeights: [1, 2, -1] }, [3])).toThrow("is -1, expected a number of at least 0");
    expect(build("crossEntropy", { labelSmoothing: 1.5 }, [3])).toThrow("labelSmoothing is 1.5, expected 0 to 1");
    expect(build("crossEntropy", { targets: "probabilities", ignoreIndex: 0 }, [3])).toThrow("has no ignoreIndex");
    expect(build("crossEntropy", { metrics: ["top0"] }, [3])).toThrow("there is no metric top0");
    expect(build("bce", { weight: [1] }, [3])).toThrow("has 1 numbers, expected 3");
    expect(build("bceWithLogits", { posWeight: Number.NaN }, [3])).toThrow("posWeight is NaN");
    expect(build("huber", { delta: 0 }, [3])).toThrow("huber's delta is 0");
    expect(build("smoothL1", { beta: -1 }, [3])).toThrow("smoothL1's beta is -1");
    expect(() => makeLoss("nll", {}).target([4])).toThrow("the model gives rank 1");
  });
});
