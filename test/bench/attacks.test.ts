/** The trainings among liars: their gradients are the graph's own, and a short one of each kind runs. */

import { describe, expect, it } from "vitest";
import { cellsOf, SETTINGS, tables } from "../../bench/attacks/grid.ts";
import { Network, PIXELS, perceptron } from "../../bench/attacks/network.ts";
import { train } from "../../bench/attacks/trial.ts";
import { differentiate, initialize, parameterLength, runReference } from "../../shared/graph/index.ts";

describe("the gradients written out by hand", () => {
  it("are those of automatic differentiation", () => {
    const graph = perceptron([12, 7]);
    const weights = initialize(graph, 5);
    const samples = 3;
    const pixels = Uint8Array.from({ length: samples * PIXELS }, (_, at) => (at % 5 === 0 ? (at * 37) % 256 : 0));
    const labels = [3, 0, 9];
    const gradient = new Float32Array(parameterLength(graph));
    const network = new Network(graph);
    let loss = 0;
    for (const [at, label] of labels.entries()) {
      loss += network.addGradient(weights, pixels.subarray(at * PIXELS, (at + 1) * PIXELS), label, gradient);
    }
    const training = differentiate(graph, samples);
    const inputs = { x: Array.from(pixels, (pixel) => pixel / 255), y: labels, weight: [1, 1, 1] };
    const values = runReference(training, samples, inputs, Float64Array.from(weights));
    expect(loss).toBeCloseTo(values[training.outputs.loss][0], 5);
    for (const [index, { name, offset }] of graph.parameters.entries()) {
      const node = training.gradients[index];
      if (node === null) throw new Error(`${name} has no gradient`);
      const found = gradient.subarray(offset, offset + values[node].length);
      const error = Math.max(...found.map((value, at) => Math.abs(value - values[node][at])));
      expect(Math.max(...values[node].map(Math.abs)), name).toBeGreaterThan(1e-3);
      expect(error, name).toBeLessThan(1e-5);
    }
  });
});

describe("a training among liars", () => {
  it("of three steps runs with every setting", () => {
    for (const aggregation of Object.values(SETTINGS)) {
      const trial = {
        aggregation,
        attack: "sign flip",
        strength: 10,
        isSkewed: true,
        hidden: [8],
        steps: 3,
        seed: 0,
        lr: 1e-3,
      } as const;
      expect(train(trial)).toBeGreaterThan(0);
    }
  });

  it("counts by the worst strength of each attack", () => {
    const [clean, weak, strong] = [null, "sign flip", "sign flip"] as const;
    const cell = { setting: "mean", isSkewed: false };
    const text = tables([
      { ...cell, attack: clean, strength: 0, accuracy: 0.9 },
      { ...cell, attack: weak, strength: 1, accuracy: 0.8 },
      { ...cell, attack: strong, strength: 10, accuracy: 0.123 },
    ]);
    expect(text).toBe("| shuffled | nobody lies | sign flip |\n| --- | --- | --- |\n| mean | 90.0 | 12.3 (10) |");
    expect(cellsOf(["mean"], [false], ["sign flip"])).toHaveLength(4);
  });
});
