/** Inputs that come as they are stored, a byte a value: to every engine the same as the floats that they stand for, to the last bit. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { expandBytes, valuesOf } from "../../client/engine/bytes.ts";
import type { Bytes, Contribution, GradientEngine, Input } from "../../client/engine/engine.ts";
import { createWasmEngine } from "../../client/engine/node/engine.ts";
import { kernelsOver } from "../../client/engine/onnx/kernels.ts";
import { createWebGpuEngine } from "../../client/engine/webgpu/engine.ts";
import { blockCount } from "../../shared/codec/index.ts";
import { differentiate, initialize, parameterLength } from "../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../shared/nn/index.ts";
import { openDevice } from "./webgpu-device.ts";

const WORD = 4;

describe("the kernel that expands bytes", () => {
  it("gives the bits that the definition does, of every byte, scale and offset", () => {
    const factor = fc.oneof(fc.constant(1 / 255), fc.double({ min: -1e30, max: 1e30, noNaN: true }), fc.float());
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), factor, factor, (bytes, scale, offset) => {
        const memory = new WebAssembly.Memory({ initial: 1 });
        const whole = Math.ceil(bytes.length / WORD) * WORD;
        const values = new Float32Array(memory.buffer, 1024, whole);
        new Uint8Array(memory.buffer, 0, bytes.length).set(bytes);
        kernelsOver(memory).expand(0, values.byteOffset, whole, scale, offset);
        const expected = new Float32Array(bytes.length);
        expandBytes({ bytes, scale, offset }, expected);
        const bitsOf = (floats: Float32Array) => [...new Uint32Array(floats.slice(0, bytes.length).buffer)];
        expect(bitsOf(values)).toEqual(bitsOf(expected));
      }),
      { numRuns: 500 },
    );
  });
});

const MICRO_BATCH = 6;
// Not a whole number of vectors, in a sample and in a micro-batch of all of them.
const FEATURES = 11;
const model = nn.sequential(nn.linear(FEATURES, 8), nn.gelu(), nn.linear(8, 3));
const graph = differentiate(buildGraph({ model, input: [FEATURES], loss: loss.crossEntropy() }), MICRO_BATCH);
const exponents = new Uint8Array(blockCount(parameterLength(graph))).fill(128);
const gpu = await openDevice();

const options = { graph, microBatch: MICRO_BATCH, seed: 5 };
const ENGINES: Readonly<Record<string, () => Promise<GradientEngine>>> = {
  "WASM in one worker": () => createWasmEngine(options, 1),
  "WASM in three": () => createWasmEngine(options, 3),
  WebGPU: () => createWebGpuEngine({ ...gpu, ...options, keepDevice: true }),
};

const bytesOf = (seed: number): Bytes => ({
  bytes: Uint8Array.from({ length: MICRO_BATCH * FEATURES }, (_, at) => (at * 89 + seed * 31) % 256),
  scale: 1 / 255,
  offset: -0.5,
});

async function contribution(engine: GradientEngine, x: (seed: number) => Input): Promise<Contribution> {
  engine.begin({ work: "gradient", step: 0, microBatches: 4, magnitudeBits: 20, exponents });
  for (let index = 0; index < 4; index++) {
    const y = Int32Array.from({ length: MICRO_BATCH }, (_, at) => (at + index) % 3);
    const weight = new Float32Array(MICRO_BATCH).fill(1);
    await engine.accumulate({ inputs: { x: x(index), y, weight }, position: index * MICRO_BATCH });
  }
  return engine.take();
}

describe.each(Object.entries(ENGINES))("%s", (_, create) => {
  it("computes the same of bytes as of their values", async () => {
    const engine = await create();
    await engine.setWeights(initialize(graph, 2));
    const ofValues = await contribution(engine, (seed) => valuesOf(bytesOf(seed)));
    const ofBytes = await contribution(engine, bytesOf);
    expect(ofValues.sums.some((sum) => sum !== 0)).toBe(true);
    expect(ofBytes).toEqual(ofValues);
    // One byte less than there are samples.
    const short = { ...bytesOf(0), bytes: new Uint8Array(MICRO_BATCH * FEATURES - 1) };
    await expect(contribution(engine, () => short)).rejects.toThrow("65 values");
    await engine.dispose();
  });
});
