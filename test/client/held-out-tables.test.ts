import { describe, expect, it } from "vitest";
import type { GradientEngine } from "../../client/engine/engine.ts";
import { createWasmEngine } from "../../client/engine/node/engine.ts";
import { lowerEvaluation, lowerTraining } from "../../client/engine/onnx/lowering.ts";
import { createWebGpuEngine } from "../../client/engine/webgpu/engine.ts";
import { differentiate, inferenceGraph, initialize, runReference } from "../../shared/graph/index.ts";
import { evaluationSums, metricNames, tableSizes } from "../../shared/graph/parameters.ts";
import { buildGraph, type Loss, loss, type Module, nn } from "../../shared/nn/index.ts";
import { openDevice } from "./webgpu-device.ts";
import { numbers } from "./webgpu-run.ts";

const gpu = await openDevice();
const MICRO_BATCH = 8;
const FEATURES = 6;
/** More than the WebGPU engine keeps before it reads back. */
const MICRO_BATCHES = 40;

const CASES: Readonly<Record<string, { readonly output: Module; readonly made: Loss; readonly classes: number }>> = {
  "classes, with dropout": {
    output: nn.sequential(nn.dropout(0.3), nn.linear(9, 5)),
    made: loss.crossEntropy({ metrics: ["top2", "confusion"] }),
    classes: 5,
  },
  "two classes": {
    output: nn.linear(9, 2),
    made: loss.crossEntropy({ metrics: ["confusion", "auc"] }),
    classes: 2,
  },
  "probabilities of yes": {
    output: nn.sequential(nn.linear(9, 1), nn.sigmoid()),
    made: loss.bce({ metrics: ["auc", "confusion"] }),
    classes: 0,
  },
  "32 classes": { output: nn.linear(9, 32), made: loss.crossEntropy({ metrics: ["confusion"] }), classes: 32 },
};

function batchOf(index: number, classes: number) {
  const side = numbers(200 + index, MICRO_BATCH);
  return {
    inputs: {
      x: numbers(100 + index, MICRO_BATCH * FEATURES),
      y:
        classes === 0
          ? Float32Array.from(side, (value) => (value > 0 ? 1 : 0))
          : Int32Array.from(side, (value) => Math.floor(((value + 1) / 2) * classes)),
      // The last sample of every micro-batch is padding.
      weight: Float32Array.from({ length: MICRO_BATCH }, (_, at) => (at === MICRO_BATCH - 1 ? 0 : 1)),
    },
    position: index * MICRO_BATCH,
  };
}

const ENGINES: Readonly<Record<string, (of: Parameters<typeof createWasmEngine>[0]) => Promise<GradientEngine>>> = {
  WASM: (options) => createWasmEngine(options, 2),
  WebGPU: (options) => createWebGpuEngine({ ...gpu, ...options, keepDevice: true }),
};

describe.each(Object.keys(ENGINES))("an evaluation on %s", (name) => {
  it.each(Object.keys(CASES))("counts in tables what the reference counts: %s", async (what) => {
    const { output, made, classes } = CASES[what]!;
    const model = nn.sequential(nn.linear(FEATURES, 9), nn.tanh(), output);
    const graph = differentiate(buildGraph({ model, loss: made, input: [FEATURES] }), MICRO_BATCH);
    const weights = initialize(graph, 3).map((value) => 3 * value);
    const engine = await ENGINES[name]!({ graph, microBatch: MICRO_BATCH, seed: 1 });
    await engine.setWeights(weights);
    engine.begin({ work: "evaluate", step: 0, microBatches: 1, magnitudeBits: 0, exponents: new Uint8Array(0) });
    const inference = inferenceGraph(graph);
    const scalars = metricNames(graph).length;
    const expected = new Array<number>(evaluationSums(graph) - scalars).fill(0);
    for (let index = 0; index < MICRO_BATCHES; index++) {
      const batch = batchOf(index, classes);
      await engine.accumulate(batch);
      const values = runReference(inference, MICRO_BATCH, batch.inputs, weights);
      let at = 0;
      for (const { value } of tableSizes(inference)) for (const count of values[value]!) expected[at++]! += count;
    }
    const { metrics } = await engine.take();
    const got = metrics.slice(scalars).map((sum) => Number(sum) * 2 ** -24);
    expect(got).toEqual(expected);
    expect(got.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
    await engine.dispose();
  });

  it("is the only work that they are computed for", async () => {
    const { output, made } = CASES["two classes"]!;
    const model = nn.sequential(nn.linear(FEATURES, 9), output);
    const graph = differentiate(buildGraph({ model, loss: made, input: [FEATURES] }), MICRO_BATCH);
    const engine = await ENGINES[name]!({ graph, microBatch: MICRO_BATCH, seed: 1 });
    await engine.setWeights(initialize(graph, 3));
    engine.begin({ work: "calibrate", step: 0, microBatches: 1, magnitudeBits: 0, exponents: new Uint8Array(0) });
    await engine.accumulate(batchOf(0, 2));
    expect((await engine.take()).metrics).toHaveLength(1);
    await engine.dispose();
  });
});

it("the model for gradients has nothing of the tables in it", () => {
  const build = (made: Loss) =>
    differentiate(buildGraph({ model: nn.linear(FEATURES, 2), loss: made, input: [FEATURES] }), MICRO_BATCH);
  const [plain, counting] = [build(loss.crossEntropy()), build(loss.crossEntropy({ metrics: ["auc", "confusion"] }))];
  expect(lowerTraining(counting, MICRO_BATCH).bytes).toEqual(lowerTraining(plain, MICRO_BATCH).bytes);
  expect(lowerEvaluation(counting, MICRO_BATCH).outputs).toHaveLength(5);
});
