/** The probe on a software adapter that says it is none: what it chooses means nothing here, that it chooses does. */

import { describe, expect, it } from "vitest";
import { createWebGpuEngine, type WebGpuEngineOptions } from "../../client/engine/webgpu/engine.ts";
import { layoutOf } from "../../client/engine/webgpu/layout.ts";
import { productsOf } from "../../client/engine/webgpu/plan.ts";
import { type Choices, createVariantMemory, probe, type VariantMemory } from "../../client/engine/webgpu/probe.ts";
import { isVariantName, type Product, productKey, tuningFor, VARIANTS } from "../../client/engine/webgpu/tuning.ts";
import { blockCount } from "../../shared/codec/index.ts";
import { differentiate, initialize, parameterLength } from "../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../shared/nn/index.ts";
import { openDevice } from "./webgpu-device.ts";
import { numbers, relativeError } from "./webgpu-run.ts";

const gpu = await openDevice();

const product = (rows: number, inner: number, columns: number): Product => ({
  rows,
  inner,
  columns,
  transA: false,
  transB: false,
  batch: 1,
});
const large = product(64, 64, 64);
const small = product(4, 4, 4);

/** A memory that shows what was asked of it. */
function watched(held: unknown): { memory: VariantMemory; written: Choices[] } {
  const written: Choices[] = [];
  return {
    memory: { read: async () => held, write: async (_, choices) => void written.push(choices) },
    written,
  };
}

describe("the probe", () => {
  it("measures the products that most of the work is in, and keeps what it found by adapter", async () => {
    const { memory, written } = watched(undefined);
    const choices = await probe(gpu.device, "adapter", [small, large], memory);
    expect([...choices.keys()]).toEqual([productKey(large)]);
    expect(written).toHaveLength(1);
    expect(Object.keys(written[0])).toEqual([productKey(large)]);
    expect(isVariantName(written[0][productKey(large)])).toBe(true);
  });

  it("measures nothing that is remembered", async () => {
    const { memory, written } = watched({ [productKey(large)]: "stages" });
    const choices = await probe(gpu.device, "adapter", [large], memory);
    expect(choices.get(productKey(large))).toBe(VARIANTS.stages);
    expect(written).toEqual([]);
  });

  it.each([null, 7, "x", { [productKey(large)]: "__proto__" }, { [productKey(large)]: 3 }])(
    "measures again where the memory holds %j",
    async (held) => {
      const { memory, written } = watched(held);
      await probe(gpu.device, "adapter", [large], memory);
      expect(written).toHaveLength(1);
    },
  );

  it("knows stacks of products in every order", async () => {
    for (const [transA, transB] of [
      [true, false],
      [false, true],
    ]) {
      const stack = { ...large, rows: 8, inner: 12, columns: 16, batch: 3, transA, transB };
      const choices = await probe(gpu.device, "adapter", [stack], createVariantMemory());
      expect([...choices.keys()]).toEqual([productKey(stack)]);
    }
  });
});

describe("an engine on real hardware", () => {
  it("gives the gradient of one that was not probed, whatever was chosen", async () => {
    const model = nn.sequential(nn.linear(32, 48), nn.tanh(), nn.linear(48, 12));
    const graph = differentiate(buildGraph({ model, loss: loss.crossEntropy(), input: [32] }), 16);
    const weights = initialize(graph, 1);
    const inputs = { x: numbers(1, 16 * 32), y: new Int32Array(16), weight: new Float32Array(16).fill(1) };
    const exponents = new Uint8Array(blockCount(parameterLength(graph))).fill(128);
    const keys = productsOf(graph, layoutOf(graph, 16), tuningFor(false)).map(productKey);
    const gradientOf = async (options: Partial<WebGpuEngineOptions>): Promise<Int32Array> => {
      const engine = await createWebGpuEngine({ ...gpu, graph, microBatch: 16, seed: 0, keepDevice: true, ...options });
      await engine.setWeights(weights);
      engine.begin({ work: "gradient", step: 1, microBatches: 1, magnitudeBits: 28, exponents });
      await engine.accumulate({ inputs, position: 0 });
      const { sums } = await engine.take();
      await engine.dispose();
      return sums;
    };
    const expected = await gradientOf({});
    for (const name of Object.keys(VARIANTS)) {
      const { memory, written } = watched(Object.fromEntries(keys.map((key) => [key, name])));
      expect(relativeError(await gradientOf({ fallback: false, variants: memory }), expected), name).toBeLessThan(1e-5);
      expect(written, "measured although it was remembered").toEqual([]);
    }
  });
});
