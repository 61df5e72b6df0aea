import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { MicroBatch } from "../../client/engine/engine.ts";
import { createWasmEngine } from "../../client/engine/node/engine.ts";
import { announce, BLOCK, createEnvelope, magnitudeBits } from "../../shared/codec/index.ts";
import { differentiate, parameterLength } from "../../shared/graph/index.ts";
import { optim } from "../../shared/nn/index.ts";
import { readMnistTraining } from "../fixtures/mnist.ts";
import { BATCH, mnistBatches, mnistGelu, mnistRelu, SEED_SAMPLES, seedData, seedProgram } from "../fixtures/parity.ts";
import { relativeError } from "../shared/graph/finite-differences.ts";
import { trainInProcess } from "./in-process.ts";

const MICRO = 32;

const fixture = (name: string): Buffer => readFileSync(new URL(`../fixtures/${name}`, import.meta.url));
const losses = (name: string): number[] => (JSON.parse(fixture(name).toString()) as { losses: number[] }).losses;

const ones = new Float32Array(MICRO).fill(1);

/** Micro-batches of MNIST by the given sample indices, 128 a step. */
function mnistMicroBatches(batches: Uint32Array): (step: number, index: number) => MicroBatch {
  const { images, labels } = readMnistTraining();
  const scale = Math.fround(1 / 255);
  return (step, index) => {
    const x = new Float32Array(MICRO * 784);
    const y = new Int32Array(MICRO);
    for (let row = 0; row < MICRO; row++) {
      const sample = batches[step * BATCH + index * MICRO + row];
      for (let pixel = 0; pixel < 784; pixel++) x[row * 784 + pixel] = images[sample * 784 + pixel] * scale;
      y[row] = labels[sample];
    }
    return { inputs: { x, y, weight: ones }, position: index * MICRO };
  };
}

/** Largest relative difference of two series of losses. */
function worst(actual: readonly number[], expected: readonly number[]): number {
  expect(actual).toHaveLength(expected.length);
  return Math.max(...expected.map((value, step) => Math.abs(actual[step] - value) / Math.abs(value)));
}

describe("parity with PyTorch, from the same weights and batches", () => {
  it("the seed text's program has PyTorch's loss in each of 100 epochs, within 1e-5", async () => {
    const { x, y } = seedData();
    const actual = await trainInProcess({
      graph: seedProgram,
      optimizer: optim.adam({ lr: 0.001 }),
      plan: {
        trainSamples: SEED_SAMPLES,
        validationSamples: 0,
        testSamples: 0,
        batchSize: SEED_SAMPLES,
        microBatch: MICRO,
        stepsPerEpoch: 1,
        totalSteps: 100,
      },
      microBatch: (_, index) => ({
        inputs: {
          x: x.slice(index * MICRO * 10, (index + 1) * MICRO * 10),
          y: y.slice(index * MICRO, (index + 1) * MICRO),
          weight: ones,
        },
        position: index * MICRO,
      }),
    });
    const difference = worst(actual, losses("seed-program.json"));
    console.log(`seed program: largest relative difference ${difference.toExponential(2)}`);
    expect(difference).toBeLessThan(1e-5);
  });

  it("MNIST with GELU has PyTorch's loss in each of 200 steps, within 1e-4", async () => {
    const actual = await trainInProcess({
      graph: mnistGelu,
      optimizer: optim.adam({ lr: 0.001 }),
      plan: {
        trainSamples: 55_000,
        validationSamples: 0,
        testSamples: 0,
        batchSize: BATCH,
        microBatch: MICRO,
        stepsPerEpoch: 430,
        totalSteps: 200,
      },
      microBatch: mnistMicroBatches(mnistBatches(200)),
    });
    const difference = worst(actual, losses("mnist-gelu.json"));
    console.log(`MNIST with GELU: largest relative difference ${difference.toExponential(2)}`);
    expect(difference).toBeLessThan(1e-4);
  });

  it("MNIST with ReLU has PyTorch's gradients at 20 checkpoints of PyTorch's own trajectory", async () => {
    const microBatch = mnistMicroBatches(mnistBatches(200));
    const parameters = parameterLength(mnistRelu);
    const bits = magnitudeBits("fixed32", BATCH / MICRO);
    const engine = await createWasmEngine({ graph: differentiate(mnistRelu, MICRO), microBatch: MICRO, seed: 0 }, 1);
    const bytes = gunzipSync(fixture("mnist-relu.bin.gz"));
    const record = parameters * (2 + 4);
    expect(bytes.byteLength).toBe(20 * record);
    const errors: number[] = [];
    for (let checkpoint = 0; checkpoint < 20; checkpoint++) {
      const at = checkpoint * record;
      const view = new DataView(bytes.buffer, bytes.byteOffset + at, record);
      const weights = Float32Array.from({ length: parameters }, (_, index) => view.getFloat16(index * 2, true));
      const expected = Float32Array.from({ length: parameters }, (_, index) =>
        view.getFloat32(parameters * 2 + index * 4, true),
      );
      const run = async (work: "calibrate" | "gradient", exponents: Uint8Array) => {
        engine.begin({ work, step: 0, microBatches: 1, magnitudeBits: work === "gradient" ? bits : 0, exponents });
        for (let index = 0; index < BATCH / MICRO; index++) await engine.accumulate(microBatch(checkpoint * 10, index));
        return engine.take();
      };
      await engine.setWeights(weights);
      const announced = announce(createEnvelope((await run("calibrate", new Uint8Array(0))).maxima));
      const { sums } = await run("gradient", announced);
      const mean = Float64Array.from(
        sums,
        (sum, index) => (sum * 2 ** (announced[Math.floor(index / BLOCK)] - 126 - bits)) / BATCH,
      );
      errors.push(relativeError(mean, expected));
    }
    await engine.dispose();
    errors.sort((a, b) => a - b);
    const median = (errors[9] + errors[10]) / 2;
    console.log(
      `MNIST with ReLU: relative L2 median ${median.toExponential(2)}, maximum ${errors[19].toExponential(2)}`,
    );
    expect(median).toBeLessThan(1e-5);
    expect(errors[19]).toBeLessThan(5e-3);
  });
});
