import { describe, expect, it } from "vitest";
import { planSession } from "../../client/engine/webgpu/engine.ts";
import { layoutOf } from "../../client/engine/webgpu/layout.ts";
import { compulsoryBytes, movedBytes } from "../../client/engine/webgpu/traffic.ts";
import { tuningFor } from "../../client/engine/webgpu/tuning.ts";
import { differentiate } from "../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../shared/nn/index.ts";

const N = 8;
const WORD = 4;

const mlp = buildGraph({
  model: nn.sequential(nn.linear(16, 12), nn.relu(), nn.linear(12, 4)),
  input: [16],
  loss: loss.crossEntropy(),
});
const training = differentiate(mlp, N);

describe("memory traffic", () => {
  it("is compulsory for every value once a pass", () => {
    const [x, hidden, logits, labels] = [16 * N, 12 * N, 4 * N, N];
    const [weights, biases] = [16 * 12 + 12 * 4, 12 + 4];
    const forward = x + weights + biases + hidden + logits + labels + N;
    // The first layer's weights and all biases are not needed; the hidden layer's gradient is read besides.
    const backward = x + 12 * 4 + hidden + logits + hidden + labels + N;
    const written = hidden + logits + hidden + weights + biases;
    expect(compulsoryBytes(training, N)).toBe((forward + backward + written) * WORD);
  });

  it("of a plan is at least the compulsory one, and names what a fused plan saves", () => {
    const { train } = planSession(training, layoutOf(training, N), tuningFor(true));
    const moved = movedBytes(train, 1);
    expect(moved).toBeGreaterThanOrEqual(compulsoryBytes(training, N));
    expect(moved).toBeLessThan(1.4 * compulsoryBytes(training, N));
    const first = train.kernels[0];
    // x, weight and bias are read, and the product is written, perhaps before and behind ReLU.
    const least = (16 * N + 16 * 12 + 12 + 12 * N) * WORD;
    expect(first.bytes).toBeGreaterThanOrEqual(least);
    expect(first.bytes).toBeLessThanOrEqual(least + 12 * N * WORD);
  });

  it("reads no sums in the first micro-batch of a shard, and in each other one all of them once", () => {
    const { train } = planSession(training, layoutOf(training, N), tuningFor(true));
    const gradients = 16 * 12 + 12 + 12 * 4 + 4;
    expect(movedBytes(train, 3)).toBe(3 * movedBytes(train, 1) + 2 * gradients * WORD);
  });

  it("counts convolutions and what they are made of", () => {
    const model = nn.sequential(nn.conv2d(1, 2, 3, { padding: 1 }), nn.relu(), nn.flatten(), nn.linear(32, 3));
    const graph = differentiate(buildGraph({ model, input: [1, 4, 4], loss: loss.crossEntropy() }), 1);
    const [x, kernel, bias, map, weight, shift, logits] = [16, 18, 2, 32, 96, 3, 3];
    const forward = x + kernel + bias + map + weight + shift + logits + 1 + 1;
    const backward = x + map + weight + logits + map + 1 + 1;
    const written = map + logits + map + kernel + bias + weight + shift;
    expect(compulsoryBytes(graph, 1)).toBe((forward + backward + written) * WORD);
  });
});
