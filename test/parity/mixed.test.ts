import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { GradientEngine, MicroBatch } from "../../client/engine/engine.ts";
import { createWasmEngine } from "../../client/engine/node/engine.ts";
import { createWebGpuEngine } from "../../client/engine/webgpu/engine.ts";
import { createKernels, LocalParameterShard, updateRule } from "../../coordinator/optim/index.ts";
import {
  advanceEnvelope,
  announce,
  BLOCK,
  createEnvelope,
  encodeSums,
  magnitudeBits,
} from "../../shared/codec/index.ts";
import { differentiate, initialize, parameterLength } from "../../shared/graph/index.ts";
import { buildGraph, loss, type Module, nn, optim } from "../../shared/nn/index.ts";
import { openDevice } from "../client/webgpu-device.ts";
import { readMnistTraining } from "../fixtures/mnist.ts";
import { BATCH, mnistBatches } from "../fixtures/parity.ts";
import { relativeError } from "../shared/graph/finite-differences.ts";

const MICRO = 32;
const STEPS = 50;
const PER_STEP = BATCH / MICRO;

const device = await openDevice();

/**
 * Trains on WASM alone, and at every step's weights also computes the step half on WebGPU, half on WASM: the relative L2
 * differences of the two aggregated gradients.
 */
async function differences(activation: () => Module): Promise<number[]> {
  const graph = buildGraph({
    model: nn.sequential(nn.linear(784, 64), activation(), nn.linear(64, 32), activation(), nn.linear(32, 10)),
    loss: loss.crossEntropy(),
    input: [784],
  });
  const options = { graph: differentiate(graph, MICRO), microBatch: MICRO, seed: 0 };
  const wasm = await createWasmEngine(options, 1);
  const gpu = await createWebGpuEngine({ ...options, ...device, keepDevice: true });
  const parameters = parameterLength(graph);
  const bits = magnitudeBits("fixed32", PER_STEP);
  const module = new WebAssembly.Module(readFileSync(new URL("../../coordinator/optim/kernels.wasm", import.meta.url)));
  const optimizer = optim.adam({ lr: 1e-3 });
  const rule = updateRule({ graph, optimizer });
  const shard = new LocalParameterShard({
    kernels: createKernels(module, parameters, rule.states),
    rule,
    codec: "fixed32",
    bits,
    microBatches: PER_STEP,
    log: { append: () => {} },
  });
  shard.weights().set(initialize(graph, 0));

  const { images, labels } = readMnistTraining();
  const order = mnistBatches(STEPS);
  const weight = new Float32Array(MICRO).fill(1);
  const microBatchOf = (step: number, index: number): MicroBatch => {
    const rows = order.subarray(step * BATCH + index * MICRO, step * BATCH + (index + 1) * MICRO);
    const x = new Float32Array(MICRO * 784);
    for (const [row, at] of rows.entries()) for (let p = 0; p < 784; p++) x[row * 784 + p] = images[at * 784 + p] / 255;
    return { inputs: { x, y: Int32Array.from(rows, (at) => labels[at]), weight }, position: index * MICRO };
  };
  const run = async (
    engine: GradientEngine,
    step: number,
    indices: readonly number[],
    exponents: Uint8Array | null,
  ) => {
    const work = exponents === null ? "calibrate" : "gradient";
    engine.begin({
      work,
      step,
      microBatches: 1,
      magnitudeBits: exponents === null ? 0 : bits,
      exponents: exponents ?? new Uint8Array(0),
    });
    for (const index of indices) await engine.accumulate(microBatchOf(step, index));
    return engine.take();
  };

  await wasm.setWeights(shard.weights());
  const all = [0, 1, 2, 3];
  let envelope = createEnvelope((await run(wasm, 0, all, null)).maxima);
  const found: number[] = [];
  for (let step = 0; step < STEPS; step++) {
    await wasm.setWeights(shard.weights());
    await gpu.setWeights(shard.weights());
    const exponents = announce(envelope);
    const alone = await run(wasm, step, all, exponents);
    const half = await run(wasm, step, [0, 1], exponents);
    const other = await run(gpu, step, [2, 3], exponents);
    const value = (sums: (at: number) => number) =>
      Float64Array.from(
        { length: parameters },
        (_, at) => sums(at) * 2 ** (exponents[Math.floor(at / BLOCK)] - 126 - bits),
      );
    found.push(
      relativeError(
        value((at) => half.sums[at] + other.sums[at]),
        value((at) => alone.sums[at]),
      ),
    );
    shard.begin(exponents);
    shard.add([encodeSums(alone.sums, "fixed32")], PER_STEP);
    await shard.prepare(step, { weight: alone.weight, maxima: alone.maxima });
    envelope = advanceEnvelope(envelope, alone.maxima, await shard.commit(step, { scale: 1, optimizers: [optimizer] }));
  }
  await wasm.dispose();
  await gpu.dispose();
  return found.sort((a, b) => a - b);
}

describe("WebGPU and WASM volunteers in the same step, at the same weights, over 50 steps of MNIST", () => {
  it("agree within 1e-5 at every step with GELU", async () => {
    const found = await differences(nn.gelu);
    console.log(`GELU: median ${found[STEPS / 2].toExponential(2)}, maximum ${found[STEPS - 1].toExponential(2)}`);
    expect(found[STEPS - 1]).toBeLessThanOrEqual(1e-5);
  });

  it("agree within 1e-5 in the median with ReLU, whose gates may flip, and 5e-3 at most", async () => {
    const found = await differences(nn.relu);
    console.log(`ReLU: median ${found[STEPS / 2].toExponential(2)}, maximum ${found[STEPS - 1].toExponential(2)}`);
    expect(found[STEPS / 2]).toBeLessThanOrEqual(1e-5);
    expect(found[STEPS - 1]).toBeLessThanOrEqual(5e-3);
  });
});
