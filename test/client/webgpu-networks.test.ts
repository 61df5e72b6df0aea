import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { differentiate, type Graph, inferShapes, initialize, runReference, sizeOf } from "../../shared/graph/index.ts";
import { buildGraph, type Loss, loss, type Module, nn } from "../../shared/nn/index.ts";
import { openDevice } from "./webgpu-device.ts";
import { type Inputs, numbers, relativeError, runOnGpu } from "./webgpu-run.ts";

const gpu = await openDevice();

const LOSSES: Readonly<Record<string, { make: () => Loss; probabilities: boolean }>> = {
  crossEntropy: { make: loss.crossEntropy, probabilities: false },
  bce: { make: loss.bce, probabilities: true },
  bceWithLogits: { make: loss.bceWithLogits, probabilities: false },
  mse: { make: loss.mse, probabilities: false },
};

/** Without kinks: across one, rounding decides on which side a value is. */
const SMOOTH: Readonly<Record<string, () => Module>> = {
  sigmoid: nn.sigmoid,
  tanh: nn.tanh,
  gelu: nn.gelu,
  dropout: () => nn.dropout(0.4),
};

function inputsFor(graph: Graph, kind: string, microBatch: number, outputs: number, seed: number): Inputs {
  const shapes = inferShapes(graph, microBatch);
  const targets = numbers(seed + 1, microBatch * outputs);
  const y =
    kind === "crossEntropy"
      ? targets.slice(0, microBatch).map((value) => Math.floor(((value + 1) / 2) * outputs))
      : kind === "mse"
        ? targets
        : targets.map((value) => (value > 0 ? 1 : 0));
  const weight = numbers(seed + 2, microBatch).map((value) => (value > 0.7 ? 0 : 1 + value / 2));
  return { x: numbers(seed, sizeOf(shapes[0].shape)), y, weight };
}

interface Described {
  readonly microBatch: number;
  readonly sizes: readonly number[];
  readonly activations: readonly string[];
  readonly loss: string;
  readonly residual: boolean;
  readonly bias: boolean;
  readonly seed: number;
}

const size = fc.constantFrom(1, 2, 3, 5, 8, 12, 17, 32, 33, 63, 64, 65);

const described: fc.Arbitrary<Described> = fc.record({
  microBatch: fc.constantFrom(1, 2, 3, 5, 8, 17, 32, 33),
  sizes: fc.array(size, { minLength: 2, maxLength: 4 }),
  activations: fc.array(fc.constantFrom(...Object.keys(SMOOTH)), { minLength: 3, maxLength: 3 }),
  loss: fc.constantFrom(...Object.keys(LOSSES)),
  residual: fc.boolean(),
  bias: fc.boolean(),
  seed: fc.integer({ min: 0, max: 1e6 }),
});

/** Largest relative error over the outputs and the gradient of each parameter. */
async function worstError(given: Described): Promise<{ error: number; of: string }> {
  const { microBatch, sizes, activations, seed } = given;
  const layers: Module[] = [];
  for (let index = 0; index + 1 < sizes.length; index++) {
    if (index > 0) layers.push(SMOOTH[activations[index - 1]]());
    layers.push(nn.linear(sizes[index], sizes[index + 1], { bias: given.bias }));
    if (given.residual) {
      layers.push(nn.residual(nn.sequential(nn.linear(sizes[index + 1], sizes[index + 1]), nn.tanh())));
    }
  }
  const { make, probabilities } = LOSSES[given.loss];
  if (probabilities) layers.push(nn.sigmoid());
  const graph = buildGraph({ model: nn.sequential(...layers), loss: make(), input: [sizes[0]] });
  const training = differentiate(graph, microBatch);
  const inputs = inputsFor(graph, given.loss, microBatch, sizes[sizes.length - 1], seed);
  const weights = initialize(graph, seed);
  const context = { seed, step: 3, position: 96 };
  const { prediction, loss: total, weight, metrics } = training.outputs;
  const names = new Map([
    [prediction, "prediction"],
    [total, "loss"],
    [weight, "weight"],
    ...Object.entries(metrics).map(([name, id]) => [id, name] as const),
    ...training.gradients.flatMap((id, at) => (id === null ? [] : [[id, training.parameters[at].name] as const])),
  ]);
  const got = await runOnGpu(gpu, training, [...names.keys()], { microBatch, inputs, weights, context });
  const expected = runReference(training, microBatch, inputs, weights, context);
  let worst = { error: 0, of: "" };
  for (const [id, name] of names) {
    const error = relativeError(got.get(id)!, expected[id]);
    // A gradient that is 0 but for rounding has no relative error: softmax of one class, say.
    const negligible = expected[id].every((value) => Math.abs(value) < 1e-12);
    if (!negligible && error > worst.error) worst = { error, of: name };
  }
  return worst;
}

describe("random networks on WebGPU", () => {
  it("agree with the float64 reference in every output and gradient", async () => {
    await fc.assert(
      fc.asyncProperty(described, async (given) => {
        const { error, of } = await worstError(given);
        expect(error, of).toBeLessThanOrEqual(1e-5);
      }),
      { numRuns: 40, seed: 2026 },
    );
  });

  it("agree at the size of an image classifier, where products are cut into full tiles", async () => {
    const given = {
      microBatch: 32,
      sizes: [784, 256, 128, 10],
      activations: ["gelu", "tanh"],
      residual: false,
      bias: true,
    };
    const { error, of } = await worstError({ ...given, loss: "crossEntropy", seed: 5 });
    expect(error, of).toBeLessThanOrEqual(1e-5);
  });

  it("agree with ReLU and leaky ReLU where no value is near a kink", async () => {
    // Small weights and biases of ±1: every unit is near 1 or −1, and none near 0.
    for (const [name, activation] of [
      ["relu", nn.relu()],
      ["leakyRelu", nn.leakyRelu(0.01)],
    ] as const) {
      const model = nn.sequential(nn.linear(17, 33), activation, nn.linear(33, 12), activation, nn.linear(12, 5));
      const graph = differentiate(buildGraph({ model, loss: loss.mse(), input: [17] }), 9);
      const weights = initialize(graph, 4).map((value) => value * 0.1);
      for (const { name, offset, shape } of graph.parameters) {
        if (name.endsWith("bias")) for (let at = 0; at < shape[0]; at++) weights[offset + at] = at % 2 === 0 ? 1 : -1;
      }
      const inputs = inputsFor(graph, "mse", 9, 5, 11);
      const wanted = graph.gradients.filter((id) => id !== null);
      const got = await runOnGpu(gpu, graph, wanted, { microBatch: 9, inputs, weights });
      const expected = runReference(graph, 9, inputs, weights);
      for (const id of wanted) expect(relativeError(got.get(id)!, expected[id]), name).toBeLessThanOrEqual(1e-5);
    }
  });

  it("agree when images are flattened first", async () => {
    const model = nn.sequential(nn.flatten(), nn.linear(3 * 5 * 4, 8), nn.tanh(), nn.linear(8, 3));
    const graph = differentiate(buildGraph({ model, loss: loss.crossEntropy(), input: [3, 5, 4] }), 6);
    const inputs = inputsFor(graph, "crossEntropy", 6, 3, 2);
    const weights = initialize(graph, 1);
    const wanted = graph.gradients.filter((id) => id !== null);
    const got = await runOnGpu(gpu, graph, wanted, { microBatch: 6, inputs, weights });
    const expected = runReference(graph, 6, inputs, weights);
    for (const id of wanted) expect(relativeError(got.get(id)!, expected[id])).toBeLessThanOrEqual(1e-5);
  });

  // Heads are slices of one stack: read where they lie, four numbers at a time if the sizes allow.
  it.each([
    { width: 16, heads: 2, context: 8 },
    { width: 6, heads: 2, context: 3 },
    { width: 24, heads: 3, context: 5 },
  ])("agree as transformers of width $width with $heads heads over $context tokens", async (sizes) => {
    const { width, heads, context } = sizes;
    const vocabulary = 9;
    const model = nn.sequential(
      nn.embedding(vocabulary, width),
      nn.transformerBlock(width, heads, { dimFeedforward: 2 * width, dropout: 0.1, activation: "gelu", causal: true }),
      nn.transformerBlock(width, heads, { dimFeedforward: 2 * width, dropout: 0, activation: "gelu", normFirst: true }),
      nn.linear(width, vocabulary),
    );
    const input = { x: { dtype: "int32", shape: [context] } } as const;
    const graph = differentiate(buildGraph({ model, input, loss: loss.crossEntropy({ classAxis: -1 }) }), 4);
    const tokens = (seed: number): number[] =>
      [...numbers(seed, 4 * context)].map((value) => Math.floor(((value + 1) / 2) * vocabulary));
    const inputs = { x: tokens(3), y: tokens(4), weight: [1, 1, 0, 1] };
    const weights = initialize(graph, 7);
    const wanted = graph.gradients.filter((id) => id !== null);
    const key = { seed: 7, step: 2, position: 8 };
    const got = await runOnGpu(gpu, graph, wanted, { microBatch: 4, inputs, weights, context: key });
    const expected = runReference(graph, 4, inputs, weights, key);
    for (const [at, id] of graph.gradients.entries()) {
      if (id === null) continue;
      expect(relativeError(got.get(id)!, expected[id]), graph.parameters[at].name).toBeLessThanOrEqual(1e-5);
    }
  });
});
