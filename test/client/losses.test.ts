import { describe, expect, it } from "vitest";
import { lowerPrediction, lowerTraining } from "../../client/engine/onnx/lowering.ts";
import { inferShapes } from "../../shared/graph/index.ts";
import { errorsOf, LOSS_CASES, type LossCase, prepare } from "../shared/nn/loss-cases.ts";
import { runtime } from "./onnxruntime.ts";
import { openDevice } from "./webgpu-device.ts";
import { runOnGpu } from "./webgpu-run.ts";

const gpu = await openDevice();

/** Outputs of the training model (loss, weight, metrics, gradients), and the prediction. */
async function runOnnx(given: LossCase): Promise<Parameters<typeof errorsOf>[1]> {
  const { graph, inputs, weights } = prepare(given);
  const types = inferShapes(graph, given.samples);
  const outputs: Float32Array[][] = [];
  for (const model of [lowerTraining(graph, given.samples), lowerPrediction(graph, given.samples)]) {
    const feeds: Record<string, ReturnType<typeof runtime.createTensor>> = {};
    for (const [index, name] of model.inputs.entries()) {
      const values = inputs[graph.inputs[index].name];
      const { dtype, shape } = types[index];
      const data = dtype === "int32" ? Int32Array.from(values) : Float32Array.from(values);
      if (name !== null) feeds[name] = runtime.createTensor(dtype, data, shape);
    }
    for (const [index, name] of model.parameters.entries()) {
      const { shape, offset } = graph.parameters[index];
      const size = shape.reduce((product, dimension) => product * dimension, 1);
      const data = Float32Array.from(weights.subarray(offset, offset + size));
      if (name !== null) feeds[name] = runtime.createTensor("float32", data, shape);
    }
    const session = await runtime.createSession(model.bytes);
    const results = await session.run(feeds);
    outputs.push(model.outputs.map((name) => (results[name].data as Float32Array).slice()));
    await session.release();
  }
  const [training, [prediction]] = outputs;
  return { loss: training[0][0], weight: training[1][0], prediction, gradients: training.slice(-2) };
}

async function runWgsl(given: LossCase): Promise<Parameters<typeof errorsOf>[1]> {
  const { graph, inputs, weights } = prepare(given);
  const { loss, weight, prediction } = graph.outputs;
  const gradients = graph.gradients.map((id) => id!);
  const wanted = [loss, weight, prediction, ...gradients];
  const values = await runOnGpu(gpu, graph, wanted, { microBatch: given.samples, inputs, weights });
  return {
    loss: values.get(loss)![0],
    weight: values.get(weight)![0],
    prediction: values.get(prediction)!,
    gradients: gradients.map((id) => values.get(id)!),
  };
}

for (const [name, run] of Object.entries({ ONNX: runOnnx, WGSL: runWgsl })) {
  describe(`losses and activations lowered to ${name} agree with PyTorch`, () => {
    for (const given of LOSS_CASES) {
      it(given.name, async () => {
        const errors = errorsOf(given, await run(given));
        expect(Math.max(...errors), errors.join(" ")).toBeLessThanOrEqual(1e-5);
      });
    }
  });
}
