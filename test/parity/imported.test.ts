/** Models that PyTorch exported, trained by the real engine and coordinator from their own weights on, and exported again. */

import { describe, expect, it } from "vitest";
import type { MicroBatch } from "../../client/engine/engine.ts";
import { exportOnnx } from "../../client/engine/onnx/export.ts";
import { type Graph, givenWeights, inferenceGraph, runReference, sizeOf } from "../../shared/graph/index.ts";
import { buildGraph, loss, optim } from "../../shared/nn/index.ts";
import { onnxModule } from "../../shared/onnx/module.ts";
import type { OptimizerOptions } from "../../shared/session/optimizer.ts";
import { runtime } from "../client/onnxruntime.ts";
import { relativeError } from "../shared/graph/finite-differences.ts";
import { EXPORTED, type ExportedCase, inputOf, modelFile, stateDictOf } from "../shared/onnx/cases.ts";
import { trainInProcess } from "./in-process.ts";

const BATCH = 5;
/** Of gradient descent: large enough that a step shows in float32. */
const LR = 1;
const STEPS = 20;

const featuresOf = ({ x, dtype }: ExportedCase): Float32Array | Int32Array =>
  dtype === "int32" ? Int32Array.from(x) : Float32Array.from(x);

/** Trains on the case's one batch; answers the losses and the last weights. */
async function train(graph: Graph, given: ExportedCase, optimizer: OptimizerOptions, totalSteps: number) {
  const inputs = { x: featuresOf(given), y: Float32Array.from(given.target), weight: new Float32Array(BATCH).fill(1) };
  const plan = { trainSamples: BATCH, validationSamples: 0, testSamples: 0, batchSize: BATCH, microBatch: BATCH };
  let weights = new Float32Array(0);
  const losses = await trainInProcess({
    graph,
    optimizer,
    plan: { ...plan, stepsPerEpoch: 1, totalSteps },
    microBatch: (): MicroBatch => ({ inputs, position: 0 }),
    finished: (last) => {
      weights = last.slice();
    },
  });
  return { losses, weights };
}

describe("a model that PyTorch exported", () => {
  for (const name of ["mlp", "convolutions", "frozen-batch-norm", "transformer", "attention"]) {
    describe(name, () => {
      const given = EXPORTED[name]!;
      const model = onnxModule(modelFile(name), { stateDict: stateDictOf(given) });
      const graph = buildGraph({ model, loss: loss.mse(), input: inputOf(given) });
      const before = givenWeights(graph)!;

      it("takes a step of gradient descent along PyTorch's gradient, within 1e-4, and leaves buffers alone", async () => {
        const { weights } = await train(graph, given, optim.sgd({ lr: LR }), 1);
        for (const { name: key, shape, offset, trainable } of graph.parameters) {
          const part = (all: Float32Array): Float32Array => all.subarray(offset, offset + sizeOf(shape));
          const after = part(weights);
          const step = Float64Array.from(part(before), (value, at) => (value - after[at]!) / LR);
          if (trainable) expect(relativeError(step, given.gradients[key]!), key).toBeLessThan(1e-4);
          else expect([...after], key).toEqual([...part(before)]);
        }
      });

      it("learns its one batch, and its export says in onnxruntime what it has learnt, within 1e-5", async () => {
        const { losses, weights } = await train(graph, given, optim.adam({ lr: 0.01 }), STEPS);
        expect(losses[STEPS - 1]!).toBeLessThan(0.8 * losses[0]!);

        const { bytes, inputs, output } = exportOnnx(graph, weights);
        const session = await runtime.createSession(bytes);
        const shape = [BATCH, ...given.input];
        const feeds = { [inputs[0]!]: runtime.createTensor(given.dtype, featuresOf(given), shape) };
        const got = (await session.run(feeds))[output]!.data as Float32Array;
        await session.release();
        const inference = inferenceGraph(graph);
        const expected = runReference(inference, BATCH, { x: given.x }, weights)[inference.outputs.prediction]!;
        expect(relativeError(Float64Array.from(got), expected)).toBeLessThan(1e-5);
        // And what is exported can be imported.
        const again = buildGraph({ model: onnxModule(bytes), loss: loss.mse(), input: inputOf(given) });
        const same = runReference(again, BATCH, { x: given.x }, givenWeights(again)!)[again.outputs.prediction]!;
        expect(relativeError(same, expected)).toBeLessThan(1e-6);
      });
    });
  }
});
