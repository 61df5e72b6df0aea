/**
 * Real pairs of results of the same work: one micro-batch of MNIST on WASM and on WebGPU (Dawn on SwiftShader), with dropout and
 * ReLU, at the weights of a training that goes on meanwhile. A lease of one micro-batch is the worst case: in a sum of several, what a
 * gate at its edge changes is less.
 */

import { readFileSync } from "node:fs";
import type { Contribution, GradientEngine, MicroBatch } from "../../client/engine/engine.ts";
import { createWasmEngine } from "../../client/engine/node/engine.ts";
import { createWebGpuEngine } from "../../client/engine/webgpu/engine.ts";
import { type Evidence, evidenceOf, type Grid } from "../../coordinator/audit/index.ts";
import { createKernels, LocalParameterShard, updateRule } from "../../coordinator/optim/index.ts";
import { advanceEnvelope, announce, createEnvelope, encodeSums, magnitudeBits } from "../../shared/codec/index.ts";
import { differentiate, initialize, parameterLength } from "../../shared/graph/index.ts";
import { buildGraph, loss, nn, optim } from "../../shared/nn/index.ts";
import type { Key } from "../../shared/random/index.ts";
import { openDevice } from "../client/webgpu-device.ts";
import { readMnistTraining } from "../fixtures/mnist.ts";
import { BATCH, MNIST_TRAINING_SAMPLES, mnistBatches } from "../fixtures/parity.ts";

const MICRO = 32;
const PER_STEP = BATCH / MICRO;
const EPOCH = Math.floor(MNIST_TRAINING_SAMPLES / BATCH);
const KEY: Key = [0x1234567, 0x89abcdef];

export interface Pair {
  readonly step: number;
  readonly wasm: Evidence;
  readonly gpu: Evidence;
  /** The same work on WASM again. */
  readonly again: Evidence;
}

/** So many pairs, step after step. */
export async function* realPairs(count: number): AsyncGenerator<Pair> {
  const graph = buildGraph({
    model: nn.sequential(
      nn.linear(784, 48),
      nn.relu(),
      nn.dropout(0.25),
      nn.linear(48, 32),
      nn.relu(),
      nn.dropout(0.25),
      nn.linear(32, 10),
    ),
    loss: loss.crossEntropy(),
    input: [784],
  });
  const parameters = parameterLength(graph);
  const bits = magnitudeBits("fixed32", PER_STEP);
  const optimizer = optim.adam({ lr: 1e-3 });
  const rule = updateRule({ graph, optimizer });
  const module = new WebAssembly.Module(readFileSync(new URL("../../coordinator/optim/kernels.wasm", import.meta.url)));
  const shard = new LocalParameterShard({
    kernels: createKernels(module, parameters, rule.states),
    rule,
    codec: "fixed32",
    bits,
    microBatches: PER_STEP,
    log: { append: () => {} },
  });
  shard.weights().set(initialize(graph, 0));
  const options = { graph: differentiate(graph, MICRO), microBatch: MICRO, seed: 0 };
  const wasm = await createWasmEngine(options, 1);
  const gpu = await createWebGpuEngine({ ...options, ...(await openDevice()), keepDevice: true });

  const { images, labels } = readMnistTraining();
  const steps = Math.ceil(count / PER_STEP);
  const order = mnistBatches(Math.min(steps, EPOCH));
  const weight = new Float32Array(MICRO).fill(1);
  const microBatchOf = (step: number, index: number): MicroBatch => {
    const rows = order.subarray((step % EPOCH) * BATCH + index * MICRO, (step % EPOCH) * BATCH + (index + 1) * MICRO);
    const x = new Float32Array(MICRO * 784);
    for (const [row, at] of rows.entries())
      for (let p = 0; p < 784; p++) x[row * 784 + p] = images[at * 784 + p]! / 255;
    return { inputs: { x, y: Int32Array.from(rows, (at) => labels[at]!), weight }, position: index * MICRO };
  };
  const run = async (
    engine: GradientEngine,
    step: number,
    indices: readonly number[],
    exponents: Uint8Array | null,
  ) => {
    engine.begin({
      work: exponents === null ? "calibrate" : "gradient",
      step,
      microBatches: PER_STEP,
      magnitudeBits: exponents === null ? 0 : bits,
      exponents: exponents ?? new Uint8Array(0),
    });
    for (const index of indices) await engine.accumulate(microBatchOf(step, index));
    return engine.take();
  };
  const witness = (result: Contribution, announced: Uint8Array, isReproducible: boolean): Evidence => {
    const sums = [encodeSums(result.sums, "fixed32").slice()];
    const grid: Grid = { codec: "fixed32", parameters, announced, bits };
    return evidenceOf(KEY, { ...result, sums, microBatches: 1, samples: MICRO }, grid, isReproducible);
  };

  await wasm.setWeights(shard.weights());
  const all = Array.from({ length: PER_STEP }, (_, index) => index);
  let envelope = createEnvelope((await run(wasm, 0, all, null)).maxima);
  let made = 0;
  for (let step = 0; step < steps; step++) {
    await wasm.setWeights(shard.weights());
    await gpu.setWeights(shard.weights());
    const announced = announce(envelope);
    shard.begin(announced);
    let total = 0n;
    const maxima = new Uint8Array(announced.length);
    for (const index of all) {
      const own = await run(wasm, step, [index], announced);
      const evidence = witness(own, announced, true);
      shard.add([encodeSums(own.sums, "fixed32").slice()], 1);
      total += own.weight;
      for (const [block, exponent] of own.maxima.entries()) maxima[block] = Math.max(maxima[block]!, exponent);
      if (made++ >= count) continue;
      const other = witness(await run(gpu, step, [index], announced), announced, false);
      const again = witness(await run(wasm, step, [index], announced), announced, true);
      yield { step, wasm: evidence, gpu: other, again };
    }
    await shard.prepare(step, { weight: total, maxima });
    envelope = advanceEnvelope(envelope, maxima, await shard.commit(step, { scale: 1, optimizers: [optimizer] }));
  }
  await wasm.dispose();
  await gpu.dispose();
}
