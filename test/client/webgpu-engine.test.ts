import { afterEach, describe, expect, it } from "vitest";
import { EngineError } from "../../client/engine/engine.ts";
import {
  createWebGpuEngine,
  gradientSinks,
  scalarSinks,
  type WebGpuEngine,
} from "../../client/engine/webgpu/engine.ts";
import { accumulateFixed, blockCount, measureExponents, roundScalar, scalarLimit } from "../../shared/codec/index.ts";
import {
  differentiate,
  inferenceGraph,
  initialize,
  parameterLength,
  runReference,
  type TrainingGraph,
} from "../../shared/graph/index.ts";
import { buildGraph, loss, type Module, nn } from "../../shared/nn/index.ts";
import { openDevice, openGpu } from "./webgpu-device.ts";
import { numbers, relativeError, runOnGpu } from "./webgpu-run.ts";

const gpu = await openDevice();

const SEED = 9;
const MICRO_BATCH = 8;
const FEATURES = 12;
const CLASSES = 5;

const model = nn.sequential(
  nn.linear(FEATURES, 33),
  nn.gelu(),
  nn.dropout(0.3),
  nn.linear(33, 20),
  nn.relu(),
  nn.linear(20, CLASSES),
);

const trainingGraph = (made: Module, microBatch = MICRO_BATCH, features = FEATURES): TrainingGraph =>
  differentiate(buildGraph({ model: made, loss: loss.crossEntropy(), input: [features] }), microBatch);

const graph = trainingGraph(model);
const weights = initialize(graph, SEED);
const length = parameterLength(graph);
const blocks = blockCount(length);

function batch(index: number) {
  return {
    inputs: {
      x: numbers(100 + index, MICRO_BATCH * FEATURES),
      y: Int32Array.from(numbers(200 + index, MICRO_BATCH), (value) => Math.floor(((value + 1) / 2) * CLASSES)),
      // The last sample of every micro-batch is padding.
      weight: Float32Array.from({ length: MICRO_BATCH }, (_, at) => (at === MICRO_BATCH - 1 ? 0 : 1)),
    },
    position: index * MICRO_BATCH,
  };
}

const open: WebGpuEngine[] = [];

async function engineFor(of: TrainingGraph = graph, set: Float32Array = weights): Promise<WebGpuEngine> {
  const engine = await createWebGpuEngine({ ...gpu, graph: of, microBatch: MICRO_BATCH, seed: SEED, keepDevice: true });
  open.push(engine);
  await engine.setWeights(set);
  return engine;
}

afterEach(async () => {
  for (const engine of open.splice(0)) await engine.dispose();
});

const STEP = 3;

/** Float32 gradients by parameter space, and scalars, as this GPU computes them. */
async function gpuValues(
  { inputs, position }: ReturnType<typeof batch>,
  set: Float32Array = weights,
): Promise<{ gradient: Float32Array; scalars: number[] }> {
  const { loss: total, weight, metrics } = graph.outputs;
  const scalars = [total, weight, metrics.correct];
  const wanted = [...graph.gradients.filter((id) => id !== null), ...scalars];
  const got = await runOnGpu(gpu, graph, wanted, {
    microBatch: MICRO_BATCH,
    inputs,
    weights: set,
    context: { seed: SEED, step: STEP, position },
    sinks: [...scalarSinks(graph), ...gradientSinks(graph)],
  });
  const gradient = new Float32Array(length);
  for (const [at, id] of graph.gradients.entries()) {
    if (id !== null) gradient.set(got.get(id)!, graph.parameters[at].offset);
  }
  return { gradient, scalars: scalars.map((id) => got.get(id)![0]) };
}

const gradientTask = (exponents: Uint8Array, magnitudeBits = 28) =>
  ({ work: "gradient", step: STEP, microBatches: 4, magnitudeBits, exponents }) as const;

async function contributionOf(engine: WebGpuEngine, indices: readonly number[], exponents: Uint8Array, bits = 28) {
  engine.begin(gradientTask(exponents, bits));
  for (const index of indices) await engine.accumulate(batch(index));
  return engine.take();
}

describe("fixed-point sums on the GPU", () => {
  // A grid that fits some blocks, is far too coarse for one and too fine for another, so that values are clamped.
  const exponents = Uint8Array.from({ length: blocks }, (_, block) => [124, 112, 140][block % 3]);

  it.each([28, 15, 31, 6])("with %i bits are the sums of shared/codec of the same gradients", async (bits) => {
    const engine = await engineFor();
    const indices = [0, 1, 2];
    const sums = new Int32Array(length);
    const maxima = new Uint8Array(blocks);
    let clamped = 0;
    const scalars = [0n, 0n, 0n];
    for (const index of indices) {
      const values = await gpuValues(batch(index));
      clamped += accumulateFixed(values.gradient, exponents, bits, sums, maxima);
      for (const [at, value] of values.scalars.entries()) scalars[at] += roundScalar(value, scalarLimit(4));
    }
    const got = await contributionOf(engine, indices, exponents, bits);
    expect(got.sums).toEqual(sums);
    expect(got.maxima).toEqual(maxima);
    expect(got.clamped).toBe(clamped);
    expect(clamped).toBeGreaterThan(0);
    expect([got.loss, got.weight, ...got.metrics]).toEqual(scalars);
  });

  it("do not depend on how micro-batches are cut into shards, nor on their order (I1)", async () => {
    const [one, other] = [await engineFor(), await engineFor()];
    const whole = await contributionOf(one, [0, 1, 2, 3, 4], exponents);
    const parts = [await contributionOf(other, [3, 1], exponents), await contributionOf(one, [4, 0, 2], exponents)];
    const sums = parts[0].sums.map((value, at) => value + parts[1].sums[at]);
    expect(sums).toEqual(whole.sums);
    expect(parts[0].maxima.map((value, at) => Math.max(value, parts[1].maxima[at]))).toEqual(whole.maxima);
    expect(parts[0].clamped + parts[1].clamped).toBe(whole.clamped);
    expect(parts[0].loss + parts[1].loss).toBe(whole.loss);
    expect(parts[0].weight + parts[1].weight).toBe(whole.weight);
    expect(parts[0].metrics[0] + parts[1].metrics[0]).toBe(whole.metrics[0]);
  });

  it("begin at zero with every shard", async () => {
    const engine = await engineFor();
    const first = await contributionOf(engine, [0, 1], exponents);
    expect(await contributionOf(engine, [0, 1], exponents)).toEqual(first);
  });

  it("are zero where there was no micro-batch, whatever the shard before left behind", async () => {
    const engine = await engineFor();
    await contributionOf(engine, [0, 1], exponents);
    const got = await contributionOf(engine, [], exponents);
    expect(got.sums).toEqual(new Int32Array(length));
    expect(got.maxima).toEqual(new Uint8Array(blocks));
    expect([got.loss, got.weight, ...got.metrics]).toEqual([0n, 0n, 0n]);
  });

  it("are exact while the weights change between shards", async () => {
    const engine = await engineFor();
    const before = await contributionOf(engine, [0], exponents);
    await engine.setWeights(weights.map((value) => value / 2));
    expect((await contributionOf(engine, [0], exponents)).sums).not.toEqual(before.sums);
    await engine.setWeights(weights);
    expect(await contributionOf(engine, [0], exponents)).toEqual(before);
  });
});

describe("agreement of the engine with the float64 reference", () => {
  it("holds for the summed gradient, loss, weight and metrics", async () => {
    const engine = await engineFor();
    const exponents = new Uint8Array(blocks).fill(128);
    const got = await contributionOf(engine, [0, 1, 2], exponents);
    const gradient = new Float64Array(length);
    const scalars = [0, 0, 0];
    for (const index of [0, 1, 2]) {
      const { inputs, position } = batch(index);
      const values = runReference(graph, MICRO_BATCH, inputs, weights, { seed: SEED, step: STEP, position });
      for (const [at, id] of graph.gradients.entries()) {
        if (id === null) continue;
        const { offset } = graph.parameters[at];
        for (const [index, value] of values[id].entries()) gradient[offset + index] += value;
      }
      const { loss: total, weight, metrics } = graph.outputs;
      for (const [at, id] of [total, weight, metrics.correct].entries()) scalars[at] += values[id][0];
    }
    const scale = 2 ** (28 - (128 - 126));
    expect(
      relativeError(
        Float64Array.from(got.sums, (value) => value / scale),
        gradient,
      ),
    ).toBeLessThanOrEqual(1e-5);
    const values = [got.loss, got.weight, ...got.metrics].map((units) => Number(units) / 2 ** 24);
    expect(relativeError(values, scalars)).toBeLessThanOrEqual(1e-5);
    expect(values[1]).toBe(3 * (MICRO_BATCH - 1));
  });

  it("evaluates without dropout and without gradients", async () => {
    const engine = await engineFor();
    engine.begin({ work: "evaluate", step: 0, microBatches: 1, magnitudeBits: 0, exponents: new Uint8Array(0) });
    await engine.accumulate(batch(4));
    const got = await engine.take();
    const inference = inferenceGraph(graph);
    const values = runReference(inference, MICRO_BATCH, batch(4).inputs, weights);
    expect(Number(got.loss) / 2 ** 24).toBeCloseTo(values[inference.outputs.loss][0], 4);
    expect(got.metrics).toEqual([roundScalar(values[inference.outputs.metrics.correct][0], scalarLimit(1))]);
    expect(got.sums).toHaveLength(0);
    expect(got.maxima).toHaveLength(0);
  });

  it("calibrates: the exponents of the gradients, and no sums", async () => {
    const engine = await engineFor();
    engine.begin({ work: "calibrate", step: STEP, microBatches: 1, magnitudeBits: 0, exponents: new Uint8Array(0) });
    for (const index of [0, 1]) await engine.accumulate(batch(index));
    const got = await engine.take();
    const maxima = new Uint8Array(blocks);
    for (const index of [0, 1]) measureExponents((await gpuValues(batch(index))).gradient, maxima);
    expect(got.maxima).toEqual(maxima);
    expect(got.sums).toHaveLength(0);
    expect(got.clamped).toBe(0);
  });

  it.each([1, MICRO_BATCH, 2 * MICRO_BATCH + 3])("predicts %i samples", async (samples) => {
    const engine = await engineFor();
    const x = numbers(5, samples * FEATURES);
    const got = await engine.predict({ x }, samples);
    const inference = inferenceGraph(graph);
    const inputs = { x, y: new Int32Array(samples), weight: new Float32Array(samples) };
    const expected = runReference(inference, samples, inputs, weights)[inference.outputs.prediction];
    expect(relativeError(got, expected)).toBeLessThanOrEqual(1e-5);
  });

  it("keeps every micro-batch's scalars in shards longer than the GPU's room for them", async () => {
    const engine = await engineFor();
    engine.begin({ work: "evaluate", step: 0, microBatches: 1, magnitudeBits: 0, exponents: new Uint8Array(0) });
    const count = 1030;
    for (let index = 0; index < count; index++) await engine.accumulate(batch(4));
    const got = await engine.take();
    engine.begin({ work: "evaluate", step: 0, microBatches: 1, magnitudeBits: 0, exponents: new Uint8Array(0) });
    await engine.accumulate(batch(4));
    const one = await engine.take();
    expect(got.weight).toBe(BigInt(count) * one.weight);
    expect(got.loss).toBe(BigInt(count) * one.loss);
  });
});

describe("values that are not finite", () => {
  it.each([
    { what: "a NaN among the features", feature: Number.NaN, weight: 0 },
    { what: "an infinite feature", feature: Number.POSITIVE_INFINITY, weight: 0 },
    { what: "an infinite weight", feature: 0, weight: Number.POSITIVE_INFINITY },
  ])("show as exponent 255 in the blocks they reach, and add nothing: $what", async ({ feature, weight }) => {
    const poisoned = batch(0);
    poisoned.inputs.x[3] = feature;
    const set = weights.slice();
    if (weight !== 0) set[graph.parameters.at(-1)!.offset] = weight;
    const exponents = new Uint8Array(blocks).fill(128);
    const { gradient } = await gpuValues(poisoned, set);
    const sums = new Int32Array(length);
    const maxima = new Uint8Array(blocks);
    const clamped = accumulateFixed(gradient, exponents, 28, sums, maxima);
    expect([...maxima]).toContain(255);

    const engine = await engineFor(graph, set);
    engine.begin(gradientTask(exponents));
    await engine.accumulate(poisoned);
    expect(await engine.take()).toMatchObject({ sums, maxima, clamped });
    await engine.setWeights(weights);
    expect([...(await contributionOf(engine, [0], exponents)).maxima]).not.toContain(255);
  });

  it("pass through ReLU, tanh, sigmoid and the rest", async () => {
    const activations = [nn.relu(), nn.leakyRelu(0.01), nn.sigmoid(), nn.tanh(), nn.gelu()];
    for (const activation of activations) {
      const made = trainingGraph(nn.sequential(nn.linear(FEATURES, 8), activation, nn.linear(8, CLASSES)));
      const initial = initialize(made, 0);
      const poisoned = initial.slice();
      poisoned[0] = Number.NaN;
      const engine = await engineFor(made, poisoned);
      const count = blockCount(parameterLength(made));
      const got = await contributionOf(engine, [0], new Uint8Array(count).fill(128));
      expect([...got.maxima], activation.kind).toContain(255);
      for (const value of got.sums) expect(Number.isInteger(value)).toBe(true);
    }
  });
});

describe("what goes wrong", () => {
  const failsWith = async (code: string, action: () => unknown): Promise<void> => {
    const error = await (async () => action())().then(
      () => null,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(EngineError);
    expect((error as EngineError).code).toBe(code);
  };

  it("a lost device is `lost`, at once and from then on", async () => {
    const own = await openDevice();
    const engine = await createWebGpuEngine({ ...own, graph, microBatch: MICRO_BATCH, seed: SEED });
    await engine.setWeights(weights);
    engine.begin(gradientTask(new Uint8Array(blocks).fill(128)));
    await engine.accumulate(batch(0));
    own.device.destroy();
    await failsWith("lost", () => engine.take());
    await failsWith("lost", () => engine.begin(gradientTask(new Uint8Array(blocks).fill(128))));
    await failsWith("lost", () => engine.setWeights(weights));
    await failsWith("lost", () => engine.predict({ x: new Float32Array(FEATURES) }, 1));
    await engine.dispose();
  });

  it("an error that nobody expected is `failed`, or `memory` if it is one of memory", async () => {
    const bad = (device: GPUDevice) => void device.createBuffer({ size: 4, usage: 0 });
    const exhausted = (device: GPUDevice) => {
      const error = new GPUOutOfMemoryError("no more memory");
      device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
    };
    for (const [code, provoke] of [
      ["failed", bad],
      ["memory", exhausted],
    ] as const) {
      const own = await openDevice();
      const engine = await createWebGpuEngine({ ...own, graph, microBatch: MICRO_BATCH, seed: SEED });
      engine.begin(gradientTask(new Uint8Array(blocks).fill(128)));
      await engine.accumulate(batch(0));
      provoke(own.device);
      await failsWith(code, () => engine.take());
      await engine.dispose();
    }
  });

  it("the device is given back with the engine, and when there is no engine", async () => {
    const own = await openDevice();
    const engine = await createWebGpuEngine({ ...own, graph, microBatch: MICRO_BATCH, seed: SEED });
    await engine.dispose();
    expect((await own.device.lost).reason).toBe("destroyed");
    const other = await openDevice();
    const nodes = [{ op: "Constant", inputs: [], attributes: { value: Number.NaN } }] as const;
    const broken: TrainingGraph = {
      ...graph,
      nodes,
      outputs: { prediction: 9, loss: 9, weight: 9, metrics: {} },
      gradients: [],
    };
    const creating = createWebGpuEngine({ ...other, graph: broken, microBatch: MICRO_BATCH, seed: SEED });
    await failsWith("compile", () => creating);
    expect((await other.device.lost).reason).toBe("destroyed");
  });

  it("more than the device's limits is `memory`, with the figures", async () => {
    const adapter = await (await openGpu()).requestAdapter();
    const device = await adapter!.requestDevice();
    const wide = trainingGraph(nn.sequential(nn.linear(8000, 4300), nn.linear(4300, 2)), 1, 8000);
    const creating = createWebGpuEngine({ ...gpu, device, graph: wide, microBatch: 1, seed: SEED });
    await failsWith("memory", () => creating);
    await expect(creating).rejects.toThrow(/137\d{6} bytes.*134217728/);
    device.destroy();
  });

  it("the adapter's limits are asked for, not WebGPU's defaults", async () => {
    const adapter = await (await openGpu()).requestAdapter();
    expect(gpu.device.limits.maxStorageBufferBindingSize).toBe(adapter!.limits.maxStorageBufferBindingSize);
    expect(adapter!.limits.maxStorageBufferBindingSize).toBeGreaterThan(2 ** 27);
  });

  it("inputs and weights of another size are `failed`", async () => {
    const engine = await engineFor();
    await failsWith("failed", () => engine.setWeights(new Float32Array(length + 4)));
    engine.begin(gradientTask(new Uint8Array(blocks).fill(128)));
    await failsWith("failed", () => engine.accumulate({ ...batch(0), inputs: { x: new Float32Array(3) } }));
    await engine.take();
    await failsWith("failed", () => engine.begin(gradientTask(new Uint8Array(blocks + 1).fill(128))));
    await failsWith("failed", () => engine.begin(gradientTask(new Uint8Array(blocks).fill(255))));
  });

  it("nothing can be accumulated or taken while no shard is open", async () => {
    const engine = await engineFor();
    await failsWith("failed", () => engine.accumulate(batch(0)));
    await failsWith("failed", () => engine.take());
    await engine.dispose();
    await failsWith("failed", () => engine.begin(gradientTask(new Uint8Array(blocks).fill(128))));
  });
});

describe("programs of one engine", () => {
  it("share their forward passes' kernels: a prediction after training compiles little", async () => {
    const own = await openDevice();
    const made = trainingGraph(nn.sequential(nn.linear(FEATURES, 32), nn.relu(), nn.linear(32, CLASSES)));
    const engine = await createWebGpuEngine({ ...own, graph: made, microBatch: MICRO_BATCH, seed: SEED });
    let compiled = 0;
    const create = own.device.createComputePipelineAsync.bind(own.device);
    own.device.createComputePipelineAsync = (descriptor) => {
      compiled += 1;
      return create(descriptor);
    };
    await engine.setWeights(initialize(made, SEED));
    await engine.predict({ x: numbers(5, FEATURES) }, 1);
    expect(compiled).toBe(0);
    await engine.dispose();
  });
});

describe("the work of a 784-256-128-10 network's micro-batch of 32", () => {
  it("is at most 14 dispatches, one upload, and one read-back a shard", async () => {
    const mnist = differentiate(
      buildGraph({
        model: nn.sequential(nn.linear(784, 256), nn.relu(), nn.linear(256, 128), nn.relu(), nn.linear(128, 10)),
        loss: loss.crossEntropy(),
        input: [784],
      }),
      32,
    );
    const engine = await createWebGpuEngine({ ...gpu, graph: mnist, microBatch: 32, seed: 0, keepDevice: true });
    open.push(engine);
    const parameters = parameterLength(mnist);
    await engine.setWeights(initialize(mnist, 0));
    const inputs = { x: numbers(1, 32 * 784), y: new Int32Array(32), weight: new Float32Array(32).fill(1) };
    engine.begin(gradientTask(new Uint8Array(blockCount(parameters)).fill(130)));
    const before = { ...engine.counters };
    for (const position of [0, 32, 64]) await engine.accumulate({ inputs, position });
    const dispatches = (engine.counters.dispatches - before.dispatches) / 3;
    expect(dispatches).toBeLessThanOrEqual(14);
    const uploaded = (engine.counters.uploadedBytes - before.uploadedBytes) / 3;
    expect(uploaded).toBeLessThan(32 * 784 * 4 + 512);
    await engine.take();
    expect(engine.counters.readBytes).toBeLessThan(parameters * 4 + 8192);
  });
});
