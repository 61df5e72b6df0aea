/**
 * onnxruntime-web given gradient graphs and nothing else: with its WebGPU provider the graph that our ONNX engine makes of
 * the session, weights and gradients staying on the GPU; in WASM, on one thread, the hand-written graph of an MLP, whose
 * time is what our own WASM step is measured against.
 */

import { lowerTraining } from "../../../client/engine/onnx/lowering.ts";
import { differentiate, sizeOf } from "../../../shared/graph/index.ts";
import { Refusal } from "../../harness/race.ts";
import type { CreateStepper } from "../trial.ts";
import type { Problem } from "../workloads.ts";
import { writeHandMadeMlp } from "./hand-written-mlp.ts";
import { withoutPoolIndices } from "./pool-gradient.ts";

type Data = Float32Array | Int32Array;

const typeOf = (data: Data) => (data instanceof Int32Array ? "int32" : "float32");

function shapeOf({ graph, batch }: Problem, name: string): number[] {
  const found = graph.inputs.find((input) => input.name === name);
  if (found === undefined) throw new Error(`there is no input ${name}`);
  return found.shape.map((size) => (size === "N" ? batch : size));
}

/** Values of a parameter, in place. */
const parametersOf = ({ graph, weights }: Problem) =>
  graph.parameters.map(({ name, shape, offset }) => ({
    name,
    shape,
    offset,
    values: weights.subarray(offset, offset + sizeOf(shape)),
  }));

export const createOnnxWebGpuStepper: CreateStepper = async (problem) => {
  const ort = await import("onnxruntime-web/webgpu");
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const { graph, batch, inputs } = problem;
  const training = withoutPoolIndices(differentiate(graph, batch), batch);
  const model = lowerTraining(training, batch);
  const targets = parametersOf(problem).filter((_, index) => training.gradients[index] !== null);
  const [loss, ...others] = model.outputs;
  const gradientNames = others.slice(others.length - targets.length);
  const session = await ort.InferenceSession.create(model.bytes, {
    // With its own preference, channels last, its answers for the CNN are wrong.
    executionProviders: [{ name: "webgpu", preferredLayout: "NCHW" }],
    graphOptimizationLevel: "all",
    preferredOutputLocation: Object.fromEntries(gradientNames.map((name) => [name, "gpu-buffer" as const])),
  });
  const device = await ort.env.webgpu.device;
  if (!(device instanceof GPUDevice)) throw new Refusal("unavailable", "onnxruntime-web gives no WebGPU device");
  const feeds: Record<string, InstanceType<typeof ort.Tensor>> = {};
  for (const [index, { shape, values }] of parametersOf(problem).entries()) {
    const name = model.parameters[index];
    if (name === null) continue;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const buffer = device.createBuffer({ size: Math.ceil(values.byteLength / 16) * 16, usage });
    device.queue.writeBuffer(buffer, 0, values as GPUAllowSharedBufferSource);
    feeds[name] = ort.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: [...shape] });
  }
  let results: Awaited<ReturnType<typeof session.run>> = {};
  return {
    async step() {
      for (const name of gradientNames) results[name]?.dispose();
      for (const [index, { name }] of graph.inputs.entries()) {
        const to = model.inputs[index];
        if (to !== null) feeds[to] = new ort.Tensor(typeOf(inputs[name]), inputs[name], shapeOf(problem, name));
      }
      results = await session.run(feeds);
      await results[loss].getData();
      await device.queue.onSubmittedWorkDone();
    },
    async gradient() {
      const flat = new Float32Array(problem.weights.length);
      for (const [at, { offset }] of targets.entries()) {
        flat.set((await results[gradientNames[at]].getData()) as Float32Array, offset);
      }
      return flat;
    },
    dispose: () => session.release(),
  };
};

export const createHandWrittenStepper: CreateStepper = async (problem) => {
  const { network, batch, inputs } = problem;
  if (network.kind !== "mlp") throw new Refusal("unavailable", "the hand-written graph is of an MLP");
  const ort = await import("onnxruntime-web/wasm");
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const model = writeHandMadeMlp(network.sizes, batch);
  const session = await ort.InferenceSession.create(model.bytes, {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
  });
  const parameters = parametersOf(problem);
  const feeds: Record<string, InstanceType<typeof ort.Tensor>> = {};
  for (const [index, { shape, values }] of parameters.entries()) {
    feeds[model.parameters[index]] = new ort.Tensor("float32", values, [...shape]);
  }
  let results: Awaited<ReturnType<typeof session.run>> = {};
  return {
    async step() {
      for (const name of ["x", "y"]) {
        feeds[name] = new ort.Tensor(typeOf(inputs[name]), inputs[name], shapeOf(problem, name));
      }
      results = await session.run(feeds);
    },
    async gradient() {
      const flat = new Float32Array(problem.weights.length);
      for (const [index, { offset }] of parameters.entries()) {
        flat.set(results[model.gradients[index]].data as Float32Array, offset);
      }
      return flat;
    },
    dispose: () => session.release(),
  };
};
