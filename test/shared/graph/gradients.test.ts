import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Graph } from "../../../shared/graph/index.ts";
import { buildGraph, type Loss, loss, type Module, nn } from "../../../shared/nn/index.ts";
import { automaticGradient, numericGradient, relativeError, type Sample } from "./finite-differences.ts";

/** Numbers in [−1, 1) from a seed, for data where only determinism matters. */
function numbers(seed: number, count: number): Float64Array {
  let state = (seed * 2654435761) >>> 0 || 1;
  return Float64Array.from({ length: count }, () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 31 - 1;
  });
}

const LOSSES: Readonly<Record<string, { make: () => Loss; probabilities: boolean }>> = {
  crossEntropy: { make: loss.crossEntropy, probabilities: false },
  bce: { make: loss.bce, probabilities: true },
  bceWithLogits: { make: loss.bceWithLogits, probabilities: false },
  mse: { make: loss.mse, probabilities: false },
};

const SMOOTH: Readonly<Record<string, () => Module>> = {
  sigmoid: nn.sigmoid,
  tanh: nn.tanh,
  gelu: nn.gelu,
  dropout: () => nn.dropout(0.4),
};

/** ReLU and leaky ReLU have a kink: differences across it are no derivative, so their networks get a wide margin below. */
const KINKED: Readonly<Record<string, () => Module>> = { relu: nn.relu, leakyRelu: () => nn.leakyRelu(0.01) };

function sampleOf(
  graph: Graph,
  kind: string,
  microBatch: number,
  width: number,
  outputs: number,
  seed: number,
): Sample {
  const length = graph.parameters.at(-1)!.offset + 64 * 64;
  const targets = numbers(seed + 1, microBatch * outputs);
  const y =
    kind === "crossEntropy"
      ? numbers(seed + 1, microBatch).map((value) => Math.floor(((value + 1) / 2) * outputs))
      : kind === "mse"
        ? targets
        : targets.map((value) => (value > 0 ? 1 : 0));
  const weight = numbers(seed + 2, microBatch).map((value) => (value > 0.6 ? 0 : 1 + value));
  return {
    microBatch,
    inputs: { x: numbers(seed, microBatch * width), y, weight },
    // Half as large where probabilities would saturate: 1 − p has no digits left there, in any arithmetic.
    weights: numbers(seed + 3, length).map((value) => (kind === "bce" ? value / 2 : value)),
  };
}

const network = fc.record({
  kind: fc.constantFrom(...Object.keys(LOSSES)),
  activations: fc.array(fc.constantFrom(...Object.keys(SMOOTH)), { minLength: 1, maxLength: 3 }),
  residual: fc.boolean(),
  microBatch: fc.integer({ min: 1, max: 5 }),
  width: fc.integer({ min: 1, max: 5 }),
  hidden: fc.integer({ min: 1, max: 6 }),
  outputs: fc.integer({ min: 1, max: 4 }),
  seed: fc.integer({ min: 1, max: 1e6 }),
});

function build(
  {
    kind,
    residual,
    width,
    hidden,
    outputs,
  }: { kind: string; residual: boolean; width: number; hidden: number; outputs: number },
  activations: readonly Module[],
): Graph {
  const { make, probabilities } = LOSSES[kind];
  const inner = activations.flatMap((activation) => {
    const block = nn.sequential(nn.linear(hidden, hidden), activation);
    return [residual ? nn.residual(block) : block];
  });
  const layers = [nn.linear(width, hidden), ...inner, nn.linear(hidden, outputs, { bias: hidden % 2 === 0 })];
  return buildGraph({
    model: nn.sequential(...layers, ...(probabilities ? [nn.sigmoid()] : [])),
    loss: make(),
    input: [width],
  });
}

describe("automatic differentiation", () => {
  it("agrees with finite differences for random networks of every smooth layer and every loss", () => {
    fc.assert(
      fc.property(network, (spec) => {
        const graph = build(
          spec,
          spec.activations.map((name) => SMOOTH[name]()),
        );
        const sample = sampleOf(graph, spec.kind, spec.microBatch, spec.width, spec.outputs, spec.seed);
        const [automatic, numeric] = [automaticGradient(graph, sample), numericGradient(graph, sample)];
        const scale = Math.hypot(...numeric);
        expect(relativeError(automatic, numeric)).toBeLessThan(scale < 1e-4 ? 1 : 1e-5);
      }),
      { numRuns: 150 },
    );
  });

  for (const [name, activation] of Object.entries(KINKED)) {
    it(`agrees with finite differences for ${name}, away from its kink`, () => {
      const graph = build({ kind: "mse", residual: false, width: 3, hidden: 4, outputs: 2 }, [
        activation(),
        activation(),
      ]);
      let compared = 0;
      for (let seed = 1; seed <= 30; seed++) {
        const sample = sampleOf(graph, "mse", 3, 3, 2, seed);
        const [automatic, numeric] = [automaticGradient(graph, sample), numericGradient(graph, sample)];
        if (relativeError(automatic, numeric) < 1e-6) compared += 1;
      }
      // A step of 1e-5 crosses a kink in few of them.
      expect(compared).toBeGreaterThanOrEqual(28);
    });
  }

  it("gives no gradient to samples of weight 0, even if their loss is not finite", () => {
    const graph = buildGraph({ model: nn.linear(2, 2), loss: loss.crossEntropy(), input: [2] });
    const weights = numbers(5, 8);
    const one = automaticGradient(graph, { microBatch: 1, inputs: { x: [0.5, 1], y: [1], weight: [1] }, weights });
    const padded = automaticGradient(graph, {
      microBatch: 3,
      inputs: { x: [0.5, 1, 0.5, 1, 0.5, 1], y: [1, 1, 1], weight: [1, 0, 0] },
      weights,
    });
    expect(relativeError(padded, one)).toBeLessThan(1e-15);
  });

  it("keeps the backward pass of an MLP small", async () => {
    const { differentiate } = await import("../../../shared/graph/index.ts");
    const graph = buildGraph({
      model: nn.sequential(nn.linear(784, 256), nn.relu(), nn.linear(256, 128), nn.relu(), nn.linear(128, 10)),
      loss: loss.crossEntropy(),
      input: [784],
    });
    const { nodes } = differentiate(graph, 32);
    expect(nodes.filter(({ op }) => op === "Gemm")).toHaveLength(3 + 5);
    expect(nodes.filter(({ op }) => op === "Expand").length).toBeLessThanOrEqual(1);
    expect(nodes.length).toBeLessThanOrEqual(45);
  });
});
