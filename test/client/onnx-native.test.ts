/**
 * The native engine's side of onnxruntime-node's interface, without that package (288 MB): a package of the same shape whose
 * sessions are onnxruntime-web's, and so have the bits of the WASM engine.
 */

import type { Tensor } from "onnxruntime-web/wasm";
import { expect, it } from "vitest";
import type { GradientEngine } from "../../client/engine/engine.ts";
import { createWasmEngine } from "../../client/engine/node/engine.ts";
import { OnnxCompute } from "../../client/engine/onnx/compute.ts";
import { createOnnxEngine } from "../../client/engine/onnx/engine.ts";
import { wrapNodePackage } from "../../client/engine/onnx/native.ts";
import { announce, createEnvelope, magnitudeBits } from "../../shared/codec/index.ts";
import { differentiate, initialize } from "../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../shared/nn/index.ts";
import { runtime } from "./onnxruntime.ts";
import { numbers } from "./webgpu-run.ts";

/** onnxruntime-node reads feeds and fills fetches where they lie; onnxruntime-web returns arrays of its own. */
const packageOfTheSameShape = {
  Tensor: class {
    readonly tensor: Tensor;
    readonly values: Float32Array | Int32Array;
    constructor(type: "float32" | "int32", values: Float32Array | Int32Array, shape: readonly number[]) {
      this.tensor = runtime.createTensor(type, values, shape);
      this.values = values;
    }
  },
  InferenceSession: {
    async create(model: Uint8Array) {
      const session = await runtime.createSession(model);
      type Tensors = Record<string, { tensor: Tensor; values: Float32Array | Int32Array }>;
      return {
        async run(feeds: Tensors, fetches: Tensors) {
          const inputs = Object.entries(feeds).map(([name, { tensor }]) => [name, tensor]);
          const results = await session.run(Object.fromEntries(inputs));
          for (const [name, { values }] of Object.entries(fetches)) values.set(results[name]!.data as Float32Array);
        },
        release: () => session.release(),
      };
    },
  },
};

const MICRO = 8;
const graph = buildGraph({
  model: nn.sequential(nn.linear(12, 20), nn.gelu(), nn.dropout(0.3), nn.linear(20, 5)),
  loss: loss.crossEntropy(),
  input: [12],
});
const options = { graph: differentiate(graph, MICRO), microBatch: MICRO, seed: 5 };

/** What the same two micro-batches and one prediction come to. */
async function workOf(engine: GradientEngine) {
  const stored = { bytes: Uint8Array.from({ length: MICRO * 12 }, (_, at) => at * 7), scale: 1 / 255, offset: -0.5 };
  const microBatches = [0, 1].map((index) => ({
    inputs: {
      x: index === 0 ? numbers(index, MICRO * 12) : stored,
      y: Int32Array.from({ length: MICRO }, (_, at) => (at + index) % 5),
      weight: new Float32Array(MICRO).fill(1),
    },
    position: index * MICRO,
  }));
  await engine.setWeights(initialize(graph, 3));
  const shard = { step: 2, microBatches: 2, magnitudeBits: 0, exponents: new Uint8Array(0) };
  engine.begin({ ...shard, work: "calibrate" });
  for (const microBatch of microBatches) await engine.accumulate(microBatch);
  const calibration = await engine.take();
  const exponents = announce(createEnvelope(calibration.maxima));
  engine.begin({ ...shard, work: "gradient", magnitudeBits: magnitudeBits("fixed32", 2), exponents });
  for (const microBatch of microBatches) await engine.accumulate(microBatch);
  const gradient = await engine.take();
  engine.begin({ ...shard, work: "evaluate" });
  for (const microBatch of microBatches) await engine.accumulate(microBatch);
  const evaluation = await engine.take();
  const prediction = await engine.predict({ x: numbers(7, 11 * 12) }, 11);
  await engine.dispose();
  return { calibration, gradient, evaluation, prediction };
}

it("the native engine feeds a package like onnxruntime-node, and sums what it filled in", async () => {
  const member = new OnnxCompute(wrapNodePackage(packageOfTheSameShape), options);
  await member.prepare();
  const native = createOnnxEngine({ ...options, kind: "native", device: "in the test", members: [member] });
  const work = await workOf(native);
  expect(work.gradient.sums.some((sum) => sum !== 0)).toBe(true);
  expect(work).toEqual(await workOf(await createWasmEngine(options, 1)));
});
