import { beforeAll, describe, expect, it } from "vitest";
import { createHandWrittenStepper } from "../../bench/engine/contestants/onnxruntime.ts";
import { flatGradient, parametersFor, type RivalLayouts } from "../../bench/engine/contestants/parameters.ts";
import { withoutPoolIndices } from "../../bench/engine/contestants/pool-gradient.ts";
import { createAccount, installGpuCounter } from "../../bench/engine/gpu-counter.ts";
import { createTrial, type Stepper } from "../../bench/engine/trial.ts";
import { createProblem, QUICK_WORKLOADS, referenceGradient, relativeDistance } from "../../bench/engine/workloads.ts";
import { differentiate, runReference, sizeOf } from "../../shared/graph/index.ts";
import { openDevice } from "../client/webgpu-device.ts";

const problem = createProblem(QUICK_WORKLOADS.mlp);
const reference = referenceGradient(problem);

/** An engine that answers the reference times `factor`, and counts its steps. */
function stepper(factor: number): Stepper & { steps: number } {
  return {
    steps: 0,
    async step() {
      this.steps += 1;
    },
    gradient: async () => reference.map((value) => value * factor),
  };
}

const trialOf = (create: () => Promise<Stepper>) => createTrial({ name: "it", ours: true, create, problem, reference });

describe("an engine's trial", () => {
  it("refuses a gradient that is a thousandth off, after its first step, and lets it go", async () => {
    let isDisposed = false;
    const dispose = async (): Promise<void> => {
      isDisposed = true;
    };
    const wrong = { ...stepper(1.001), dispose };
    const trial = trialOf(async () => wrong);
    await expect(trial.prepare()).rejects.toMatchObject({ code: "wrong", message: expect.stringContaining("1.0e-3") });
    expect(wrong.steps).toBe(1);
    expect(isDisposed).toBe(true);
  });

  it("refuses what is not a number, and a gradient of another length", async () => {
    await expect(trialOf(async () => stepper(Number.NaN)).prepare()).rejects.toMatchObject({ code: "wrong" });
    const short: Stepper = { ...stepper(1), gradient: async () => reference.slice(1) };
    await expect(trialOf(async () => short).prepare()).rejects.toMatchObject({ code: "wrong" });
  });

  it("times one that is right, and says how far it was off", async () => {
    const trial = trialOf(async () => stepper(1 + 1e-6));
    await trial.prepare();
    expect(await trial.measure()).toBeGreaterThanOrEqual(0);
    const facts = await trial.finish?.();
    expect(facts?.["Δ gradient"]).toBeGreaterThan(1e-7);
    expect(facts?.["Δ gradient"]).toBeLessThan(1e-5);
  });

  it("makes the same problem every time", () => {
    const again = createProblem(QUICK_WORKLOADS.mlp);
    expect(again.weights).toEqual(problem.weights);
    expect(again.inputs).toEqual(problem.inputs);
  });
});

describe("the hand-written ONNX graph of an MLP", () => {
  it("has the gradient of the float64 reference, at any depth", async () => {
    for (const sizes of [
      [7, 3],
      [32, 24, 10],
      [12, 9, 8, 5, 4],
    ]) {
      const deep = createProblem({ network: { kind: "mlp", sizes }, batch: 8, microBatch: 8 });
      const trial = createTrial({
        name: "hand-written",
        ours: false,
        create: createHandWrittenStepper,
        problem: deep,
        reference: referenceGradient(deep),
      });
      await trial.prepare();
      await trial.measure();
      const facts = await trial.finish?.();
      expect(facts?.["Δ gradient"]).toBeLessThan(1e-6);
    }
  });
});

describe("max-pooling's gradient without indices", () => {
  it("is the one with them", () => {
    const cnn = createProblem(QUICK_WORKLOADS.cnn);
    const { graph, batch, weights, inputs } = cnn;
    const rewritten = withoutPoolIndices(differentiate(graph, batch), batch);
    expect(rewritten.nodes.some(({ op }) => op === "MaxPoolGrad")).toBe(false);
    const values = runReference(rewritten, batch, inputs, weights);
    const expected = referenceGradient(cnn);
    for (const [index, id] of rewritten.gradients.entries()) {
      const { offset, shape } = graph.parameters[index];
      const gradient = Float32Array.from(values[id!]);
      expect(relativeDistance(gradient, expected.subarray(offset, offset + sizeOf(shape)))).toBeLessThan(1e-6);
    }
  });
});

describe("rivals' layouts", () => {
  it("come back as they went", () => {
    const layouts: RivalLayouts = (name, shape) =>
      name === "2.weight" ? { shape: [shape[0], 4, 6], perm: [1, 2, 0], theirs: [24, shape[0]] } : null;
    const parameters = parametersFor(problem, layouts);
    expect(parameters[2].shape).toEqual([24, 10]);
    // Row 1 of ours is column 1 of theirs.
    const [, , own] = problem.graph.parameters;
    expect(parameters[2].values[1]).toBe(problem.weights[own.offset + 24]);
    const back = flatGradient(
      problem,
      layouts,
      parameters.map(({ values }) => values),
    );
    expect(back).toEqual(problem.weights);
  });
});

describe("the WebGPU counter", () => {
  beforeAll(async () => {
    await openDevice();
    installGpuCounter();
    installGpuCounter(); // once is enough
  });

  it("counts dispatches, submits, bytes and buffers of whoever's turn it is", async () => {
    const { device } = await openDevice();
    const [mine, other] = [createAccount(), createAccount()];
    mine.open();
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const data = device.createBuffer({ size: 1024, usage });
    const spare = device.createBuffer({ size: 512, usage });
    spare.destroy();
    spare.destroy();
    const staging = device.createBuffer({ size: 64, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    device.queue.writeBuffer(data, 0, new Float32Array(16), 4, 8);
    const code =
      "@group(0) @binding(0) var<storage, read_write> x: array<f32>; @compute @workgroup_size(1) fn main() { x[0] = 1; }";
    const pipeline = device.createComputePipeline({
      layout: "auto",
      compute: { module: device.createShaderModule({ code }) },
    });
    const entries = [{ binding: 0, resource: { buffer: data, offset: 256 } }];
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.dispatchWorkgroups(2);
    pass.end();
    encoder.copyBufferToBuffer(data, 256, staging, 0, 64);
    device.queue.submit([encoder.finish()]);
    device.queue.submit([]);
    await staging.mapAsync(GPUMapMode.READ, 0, 32);
    expect(mine.counts).toEqual({
      dispatches: 2,
      submits: 1,
      readBacks: 1,
      uploadedBytes: 32,
      readBytes: 32,
      boundBytes: 2 * 768,
      liveBytes: 1088,
      peakBytes: 1536,
    });
    other.open();
    data.destroy();
    expect(mine.counts.liveBytes).toBe(64);
    expect(other.counts).toMatchObject({ dispatches: 0, liveBytes: 0 });
    mine.reset();
    expect(mine.counts).toMatchObject({ dispatches: 0, liveBytes: 64, peakBytes: 1536 });
    device.destroy();
  });
});
