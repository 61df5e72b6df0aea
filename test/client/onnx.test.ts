import { describe, expect, it, vi } from "vitest";
import {
  EngineError,
  type GradientEngine,
  type MicroBatch,
  type ShardTask,
  type Tensor,
} from "../../client/engine/engine.ts";
import { createWasmEngine, loadWasmRuntime } from "../../client/engine/node/engine.ts";
import { lowerTraining } from "../../client/engine/onnx/lowering.ts";
import { connectMember, type Port, type RemoteThread, serveMember } from "../../client/engine/onnx/remote.ts";
import { announce, BLOCK, blockCount, createEnvelope, magnitudeBits } from "../../shared/codec/index.ts";
import {
  differentiate,
  type Graph,
  inferenceGraph,
  inferShapes,
  initialize,
  OPS,
  type OpName,
  parameterLength,
  runReference,
  sizeOf,
} from "../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../shared/nn/index.ts";
import { fillDropoutMask } from "../../shared/random/index.ts";
import { runtime } from "./onnxruntime.ts";
import { CASES, type Case, describeCase, single } from "./op-cases.ts";
import { numbers, relativeError } from "./webgpu-run.ts";

const MICRO = 8;

/** The relative L2 error of one op's ONNX lowering against the reference. */
async function errorOf(op: OpName, given: Case<OpName>): Promise<number> {
  const graph = single(op, given);
  const inputs: Record<string, Float32Array> = {};
  for (const [index, shape] of given.shapes.entries()) {
    const change = given.values ?? ((value: number) => value * 3);
    inputs[`i${index}`] = numbers(index + 7, sizeOf(shape)).map((value) => change(value, index));
  }
  const output = graph.outputs.prediction;
  const types = inferShapes(graph, 1);
  const model = lowerTraining(graph, 1);
  const session = await runtime.createSession(model.bytes);
  const feeds: Record<string, ReturnType<typeof runtime.createTensor>> = {};
  for (const [index, name] of model.inputs.entries()) {
    const { dtype, shape } = types[index];
    const data = inputs[`i${index}`];
    if (name !== null)
      feeds[name] = runtime.createTensor(dtype, dtype === "int32" ? Int32Array.from(data) : data, shape);
  }
  for (const { name, layer, probability, units } of model.masks) {
    const mask = new Float32Array(units);
    fillDropoutMask(0, 0, layer, probability, 0, 1, units, mask);
    feeds[name] = runtime.createTensor("float32", mask, types[output].shape);
  }
  const results = await session.run(feeds);
  const got = Float64Array.from(results[model.outputs[0]].data as Float32Array);
  await session.release();
  return relativeError(got, runReference(graph, 1, inputs, [])[output]);
}

describe("every op lowered to ONNX agrees with the float64 reference", () => {
  for (const op of Object.keys(OPS) as OpName[]) {
    it(op, async () => {
      for (const given of CASES[op] as readonly Case<OpName>[]) {
        expect(await errorOf(op, given), describeCase(op, given)).toBeLessThanOrEqual(1e-5);
      }
    });
  }
});

const NETWORKS: Readonly<Record<string, Graph>> = {
  "classifier with GELU and dropout": buildGraph({
    model: nn.sequential(nn.linear(12, 20), nn.gelu(), nn.dropout(0.3), nn.linear(20, 5)),
    loss: loss.crossEntropy(),
    input: [12],
  }),
  "residual regressor": buildGraph({
    model: nn.sequential(nn.linear(12, 9), nn.residual(nn.sequential(nn.linear(9, 9), nn.tanh())), nn.linear(9, 3)),
    loss: loss.mse(),
    input: [12],
  }),
  "probability by BCE": buildGraph({
    model: nn.sequential(nn.flatten(), nn.linear(12, 7), nn.sigmoid(), nn.linear(7, 1), nn.sigmoid()),
    loss: loss.bce(),
    input: [3, 4],
  }),
  "logit by BCE": buildGraph({
    model: nn.sequential(nn.linear(12, 7), nn.leakyRelu(), nn.linear(7, 2, { bias: false })),
    loss: loss.bceWithLogits(),
    input: [12],
  }),
};

/** A micro-batch of which every input is floats or integers already. */
interface Batch extends MicroBatch {
  readonly inputs: Readonly<Record<string, Tensor>>;
}

function microBatchOf(graph: Graph, seed: number, position = 0): Batch {
  const [, y] = graph.inputs;
  const targets = sizeOf(y.shape.map((size) => (size === "N" ? MICRO : size)));
  const values = numbers(seed + 1, targets);
  const inputs = {
    x: numbers(seed, MICRO * 12),
    y:
      y.dtype === "int32"
        ? Int32Array.from(values, (v) => Math.floor((v + 1) * 2.5))
        : values.map((v) => (v > 0 ? 1 : 0)),
    weight: Float32Array.from({ length: MICRO }, (_, row) => (row === 5 ? 0 : 1)),
  };
  return { inputs, position };
}

const task = (work: ShardTask["work"], bits = 0, exponents: Uint8Array = new Uint8Array(0)): ShardTask => ({
  work,
  step: 3,
  microBatches: 1,
  magnitudeBits: bits,
  exponents,
});

describe("the ONNX engine", () => {
  for (const [name, graph] of Object.entries(NETWORKS)) {
    it(`computes the reference's gradients and loss: ${name}`, async () => {
      const engine = await createWasmEngine({ graph: differentiate(graph, MICRO), microBatch: MICRO, seed: 9 }, 1);
      const weights = initialize(graph, 4);
      const microBatch = microBatchOf(graph, 11, 16);
      await engine.setWeights(weights);
      engine.begin(task("calibrate"));
      await engine.accumulate(microBatch);
      const exponents = announce(createEnvelope((await engine.take()).maxima));
      const bits = magnitudeBits("fixed32", 1);
      engine.begin(task("gradient", bits, exponents));
      await engine.accumulate(microBatch);
      const { sums, loss: total, clamped } = await engine.take();

      const training = differentiate(graph, MICRO);
      const values = runReference(training, MICRO, microBatch.inputs, weights, { seed: 9, step: 3, position: 16 });
      const expected = new Float64Array(parameterLength(graph));
      for (const [index, id] of training.gradients.entries()) {
        if (id !== null) expected.set(values[id], training.parameters[index].offset);
      }
      const got = Float64Array.from(sums, (sum, at) => sum * 2 ** (exponents[Math.floor(at / BLOCK)] - 126 - bits));
      expect(relativeError(got, expected)).toBeLessThanOrEqual(1e-5);
      expect(Number(total) * 2 ** -24).toBeCloseTo(values[training.outputs.loss][0], 4);
      expect(clamped).toBe(0);

      const inference = inferenceGraph(graph);
      const reference = runReference(inference, MICRO, microBatch.inputs, weights);
      engine.begin(task("evaluate"));
      await engine.accumulate(microBatch);
      const evaluated = await engine.take();
      expect(Number(evaluated.loss) * 2 ** -24).toBeCloseTo(reference[inference.outputs.loss][0], 4);
      const prediction = await engine.predict({ x: microBatch.inputs.x }, MICRO);
      expect(relativeError(prediction, reference[inference.outputs.prediction])).toBeLessThanOrEqual(1e-5);
      await engine.dispose();
    });
  }

  it("gives the same bits with 1, 2 and 3 workers, however the shard is cut, with dropout on", async () => {
    const graph = NETWORKS["classifier with GELU and dropout"];
    const microBatches = Array.from({ length: 7 }, (_, index) => microBatchOf(graph, 20 + index, index * MICRO));
    const bits = magnitudeBits("fixed32", 7);
    const exponents = new Uint8Array(Math.ceil(parameterLength(graph) / BLOCK)).fill(128);
    const outcomes: Int32Array[] = [];
    for (const workers of [1, 2, 3]) {
      const engine = await createWasmEngine(
        { graph: differentiate(graph, MICRO), microBatch: MICRO, seed: 1 },
        workers,
      );
      await engine.setWeights(initialize(graph, 0));
      const whole = new Int32Array(parameterLength(graph));
      for (const shard of workers === 1 ? [microBatches] : [microBatches.slice(4), microBatches.slice(0, 4)]) {
        engine.begin(task("gradient", bits, exponents));
        for (const microBatch of shard) await engine.accumulate(microBatch);
        const { sums } = await engine.take();
        for (const [at, sum] of sums.entries()) whole[at] += sum;
      }
      outcomes.push(whole);
      await engine.dispose();
    }
    expect(outcomes[0].some((sum) => sum !== 0)).toBe(true);
    expect(outcomes[1]).toEqual(outcomes[0]);
    expect(outcomes[2]).toEqual(outcomes[0]);
  });

  it("marks a gradient that is not finite by an exponent of its own, and adds nothing for it", async () => {
    const graph = NETWORKS["residual regressor"];
    const engine = await createWasmEngine({ graph: differentiate(graph, MICRO), microBatch: MICRO, seed: 0 }, 1);
    const weights = initialize(graph, 0);
    weights[0] = Number.NaN;
    await engine.setWeights(weights);
    const exponents = new Uint8Array(blockCount(weights.length)).fill(128);
    engine.begin(task("gradient", 27, Uint8Array.of(...exponents, 128)));
    await expect(engine.accumulate(microBatchOf(graph, 1))).rejects.toThrow(/exponents were announced/);
    engine.begin(task("gradient", 27, exponents));
    await engine.accumulate(microBatchOf(graph, 1));
    const { maxima, sums } = await engine.take();
    expect(maxima).toContain(255);
    expect(sums.every(Number.isInteger)).toBe(true);
    await engine.dispose();
  });

  it("reports what it cannot run as an EngineError, and goes on with the next shard", async () => {
    const graph = NETWORKS["residual regressor"];
    const engine = await createWasmEngine({ graph: differentiate(graph, MICRO), microBatch: MICRO, seed: 0 }, 2);
    await engine.setWeights(initialize(graph, 0));
    engine.begin(task("calibrate"));
    await engine.accumulate({ inputs: { x: new Float32Array(3) }, position: 0 });
    await expect(engine.take()).rejects.toBeInstanceOf(EngineError);
    engine.begin(task("calibrate"));
    await engine.accumulate(microBatchOf(graph, 1));
    expect((await engine.take()).weight).toBe(BigInt((MICRO - 1) * 3) << 24n);
    await engine.dispose();
  });
});

/** A worker of the pool in this thread, and what goes to it and comes back, as it is when it is posted. */
function connectedHere(): { thread: RemoteThread; sizes: { sent: number; moved: number }[] } {
  const { port1, port2 } = new MessageChannel();
  const sizes: { sent: number; moved: number }[] = [];
  const observed = (port: MessagePort): Port => ({
    postMessage(message, transfer) {
      sizes.push({ sent: bytesIn(message), moved: transfer.reduce((sum, { byteLength }) => sum + byteLength, 0) });
      port.postMessage(message, transfer as ArrayBuffer[]);
    },
    listen: (listener) => port.addEventListener("message", ({ data }) => listener(data)),
  });
  serveMember<null>(observed(port2), loadWasmRuntime);
  port1.start();
  port2.start();
  const thread = {
    port: observed(port1),
    terminate: () => {
      port1.close();
      port2.close();
    },
    onDeath: () => {},
  };
  return { thread, sizes };
}

/** Of all buffers in a message. */
function bytesIn(message: unknown, seen = new Set<unknown>()): number {
  if (typeof message !== "object" || message === null || seen.has(message)) return 0;
  seen.add(message);
  if (message instanceof ArrayBuffer) return message.byteLength;
  if (ArrayBuffer.isView(message)) return bytesIn(message.buffer, seen);
  return Object.values(message).reduce((sum: number, value) => sum + bytesIn(value, seen), 0);
}

describe("a worker of the ONNX pool", () => {
  const graph = NETWORKS["residual regressor"];
  const length = parameterLength(graph);
  const options = { graph: differentiate(graph, MICRO), microBatch: MICRO, seed: 0 };
  const exponents = new Uint8Array(blockCount(length)).fill(128);
  const sumsOf = async (engine: GradientEngine, microBatch: MicroBatch): Promise<Int32Array> => {
    engine.begin(task("gradient", 27, exponents));
    await engine.accumulate(microBatch);
    return (await engine.take()).sums;
  };

  it("is sent weights and inputs, and sends sums, by moving their buffers: only bytes by block are copied", async () => {
    const { thread, sizes } = connectedHere();
    const member = await connectMember(thread, null, options);
    sizes.length = 0;
    let spare: Int32Array | undefined;
    for (let step = 0; step < 3; step++) {
      await member.setWeights(initialize(graph, 0));
      // As they lie behind the weights in a frame.
      const whole = new Uint8Array(length * 4 + exponents.length);
      whole.set(exponents, length * 4);
      await member.begin(task("gradient", 27, whole.subarray(length * 4)));
      await member.run(microBatchOf(graph, 1));
      spare = (await member.take(spare)).sums;
    }
    const copied = sizes.map(({ sent, moved }) => sent - moved);
    expect(Math.max(...copied)).toBeLessThanOrEqual(exponents.length);
    // Weights, the call to begin with the inputs, both of their answers in one, the call to take and its answer.
    expect(sizes.length).toBe(3 * 5);
    expect(Math.max(...sizes.map(({ moved }) => moved))).toBeGreaterThanOrEqual(length * 4);
    await member.dispose();
  });

  it("gives back buffers of weights though nothing is computed with them", async () => {
    const { thread, sizes } = connectedHere();
    const member = await connectMember(thread, null, options);
    sizes.length = 0;
    for (let version = 0; version < 10; version++) await member.setWeights(initialize(graph, version));
    await vi.waitFor(() => expect(sizes.length).toBe(10 + 3));
    expect(sizes.filter(({ moved }) => moved === 3 * length * 4).length).toBe(3);
    await member.dispose();
  });

  it("has its own copy of weights and inputs as soon as they were handed over", async () => {
    const engine = await createWasmEngine(options, 2);
    const [weights, microBatch] = [initialize(graph, 0), microBatchOf(graph, 1)];
    await engine.setWeights(weights);
    const expected = await sumsOf(engine, microBatch);
    await engine.setWeights(weights);
    weights.fill(0);
    engine.begin(task("gradient", 27, exponents));
    await engine.accumulate(microBatch);
    for (const values of Object.values(microBatch.inputs)) values.fill(0);
    expect((await engine.take()).sums).toEqual(expected);
    await engine.dispose();
  });

  it("fills arrays again that were given back", async () => {
    const engine = await createWasmEngine(options, 2);
    await engine.setWeights(initialize(graph, 0));
    const expected = await sumsOf(engine, microBatchOf(graph, 1));
    const copy = expected.slice();
    engine.reuse?.({ ...(await nothingOf(engine)), sums: expected });
    expect(await sumsOf(engine, microBatchOf(graph, 1))).toEqual(copy);
    expect(expected.length).toBe(0); // it was moved to a worker
    await engine.dispose();
  });

  it("tells of weights that do not fit when its sums are asked for, and goes on with the next ones", async () => {
    const engine = await createWasmEngine(options, 2);
    await engine.setWeights(new Float32Array(4));
    await expect(sumsOf(engine, microBatchOf(graph, 1))).rejects.toThrow(`4 weights came, the graph has ${length}`);
    await engine.setWeights(initialize(graph, 0));
    expect((await sumsOf(engine, microBatchOf(graph, 1))).length).toBe(length);
    await engine.dispose();
  });
});

const nothingOf = async (engine: GradientEngine) => {
  engine.begin(task("evaluate"));
  return engine.take();
};

it("an engine that is disposed of leaves its memory to the next one", async () => {
  const graph = buildGraph({ model: nn.linear(1024, 1024), loss: loss.mse(), input: [1024] });
  const size = async () => (await loadWasmRuntime()).allocate(16).memory.buffer.byteLength;
  const sizes: number[] = [];
  for (let turn = 0; turn < 6; turn++) {
    const engine = await createWasmEngine({ graph: differentiate(graph, MICRO), microBatch: MICRO, seed: 0 }, 1);
    await engine.setWeights(initialize(graph, 0));
    engine.begin(task("calibrate"));
    const inputs = {
      x: numbers(1, MICRO * 1024),
      y: numbers(2, MICRO * 1024),
      weight: new Float32Array(MICRO).fill(1),
    };
    await engine.accumulate({ inputs, position: 0 });
    await engine.take();
    await engine.dispose();
    sizes.push(await size());
  }
  expect(sizes[5]).toBe(sizes[1]);
});
