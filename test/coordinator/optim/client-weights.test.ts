/** What clients hold where they are sent changes: every bit of it follows from the changes, and it stays close to the weights. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { viewWeights, WeightsAssembler } from "../../../client/core/weights.ts";
import {
  type Change,
  createKernels,
  LocalParameterShard,
  type StepRecord,
  updateRule,
} from "../../../coordinator/optim/index.ts";
import { changeBody, copyBody } from "../../../coordinator/session/sections.ts";
import { blockCount, encodeSparse } from "../../../shared/codec/index.ts";
import { optim } from "../../../shared/nn/index.ts";
import { decodeFrame, encodeFrame, weightsLayout } from "../../../shared/protocol/frames.ts";
import type { OptimizerOptions } from "../../../shared/session/optimizer.ts";

const module = new WebAssembly.Module(
  readFileSync(new URL("../../../coordinator/optim/kernels.wasm", import.meta.url)),
);
const PARAMETERS = 2060;
const BITS = 20;
const announced = new Uint8Array(blockCount(PARAMETERS)).fill(120);
const weight = 2n ** 24n * 128n;

const parameters = [
  { name: "frozen", shape: [1000], offset: 0, trainable: false, init: { kind: "constant", value: 0 } as const },
  { name: "weight", shape: [1060], offset: 1000, trainable: true, init: { kind: "constant", value: 0 } as const },
];

function shardOf(optimizer: OptimizerOptions, records: StepRecord[] = []): LocalParameterShard {
  const rule = updateRule({ graph: { parameters }, optimizer, downlink: "delta" });
  const kernels = createKernels(module, PARAMETERS, rule.states);
  const log = { append: (record: StepRecord) => records.push({ ...record, sums: record.sums.slice() }) };
  const shard = new LocalParameterShard({ kernels, rule, codec: "fixed32", bits: BITS, microBatches: 8, log });
  const { weights, downlink } = shard.snapshot();
  weights.set(Array.from({ length: PARAMETERS }, (_, at) => Math.sin(at)));
  downlink.set(weights);
  return shard;
}

/** Gradients that point the same way for long, and noise. */
const sumsOf = (step: number): Int32Array =>
  Int32Array.from({ length: PARAMETERS }, (_, at) =>
    Math.round(Math.cos(at) * 20_000 + Math.sin(at * at + step * 77) * 40_000),
  );

async function doStep(shard: LocalParameterShard, step: number, optimizer: OptimizerOptions, sums = sumsOf(step)) {
  shard.begin(announced);
  shard.add([new Uint8Array(sums.buffer)], 8);
  await shard.prepare(step, { weight, maxima: announced });
  await shard.commit(step, { scale: 1, optimizers: [optimizer] });
}

const bits = (values: Float32Array): Uint32Array => new Uint32Array(values.slice().buffer);
const changedIn = ({ units }: Change): number => units.filter((value) => value !== 0).length;

const OPTIMIZERS = { adam: optim.adam({ lr: 0.01 }), sgd: optim.sgd({ lr: 30, momentum: 0.9 }) };

describe("weights that clients are told the changes of", () => {
  for (const [name, optimizer] of Object.entries(OPTIMIZERS)) {
    it(`are the same bits for a client that has the version before: ${name}`, async () => {
      const shard = shardOf(optimizer);
      const sizes = { blocks: announced.length, parameters: PARAMETERS };
      const layout = weightsLayout(sizes.blocks, PARAMETERS);
      const assembler = new WeightsAssembler(sizes);
      let held = viewWeights(sizes, 7, 0, new Uint8Array(layout.total));
      held.weights.set(shard.weights());
      for (let step = 0; step < 60; step++) {
        await doStep(shard, step, optimizer);
        const [change, encoded] = [shard.change(), shard.encodeChange()];
        if (change === null || encoded === null) throw new Error("nothing changed");
        expect(encoded.units).toEqual(encodeSparse(change.units));
        const body = changeBody(announced, encoded);
        const payload = new Uint8Array(body.total);
        copyBody(body, 0, payload);
        const header = { kind: "weights", codec: "sparse", version: 8 + step, step, lease: 0, clamped: 0 } as const;
        const frame = encodeFrame({ ...header, loss: 0n, weight: 0n, offset: 0, total: body.total }, payload);
        const next = assembler.add(decodeFrame(frame.buffer), held);
        if (next === null) throw new Error("not whole");
        assembler.recycle(held);
        held = next;
        expect(bits(held.weights)).toEqual(bits(shard.weights()));
        expect(held.exponents).toEqual(announced);
      }
    });

    it(`stay within a unit of the optimizer's own, and settle at few changes a step: ${name}`, async () => {
      const shard = shardOf(optimizer);
      let changed = 0;
      for (let step = 0; step < 200; step++) {
        await doStep(shard, step, optimizer);
        if (step >= 100) changed += changedIn(shard.change() as Change) / 1060 / 100;
      }
      const change = shard.change() as Change;
      const { weights } = shard.snapshot();
      const shared = shard.weights();
      for (let at = 0; at < PARAMETERS; at++) {
        expect(Math.abs(weights[at] - shared[at])).toBeLessThanOrEqual(change.unit * 0.5001);
      }
      expect(changed).toBeGreaterThan(0.04);
      expect(changed).toBeLessThan(0.36);
      expect(change.units.subarray(0, 1000).every((value) => value === 0)).toBe(true);
    });
  }

  it("are found again by a replay, with the units to come", async () => {
    const records: StepRecord[] = [];
    const shard = shardOf(OPTIMIZERS.adam, records);
    for (let step = 0; step < 20; step++) await doStep(shard, step, OPTIMIZERS.adam);
    const again = shardOf(OPTIMIZERS.adam);
    for (const record of records) again.replay(record);
    for (const [part, values] of Object.entries(shard.snapshot())) {
      expect(bits(again.snapshot()[part]), part).toEqual(bits(values));
    }
    expect(again.change()).toEqual(shard.change());
  });

  it("do not change, and have no unit, until something is updated", async () => {
    const shard = shardOf(OPTIMIZERS.sgd);
    await doStep(shard, 0, OPTIMIZERS.sgd, new Int32Array(PARAMETERS));
    expect(shard.change()).toBeNull();
    await doStep(shard, 1, OPTIMIZERS.sgd);
    expect(shard.change()?.unit).toBeGreaterThan(0);
  });

  it("say so where one is not finite", async () => {
    const shard = shardOf(OPTIMIZERS.sgd);
    await doStep(shard, 0, OPTIMIZERS.sgd);
    expect(shard.isFinite).toBe(true);
    shard.snapshot().weights[1500] = Number.POSITIVE_INFINITY;
    await doStep(shard, 1, OPTIMIZERS.sgd);
    expect(shard.isFinite).toBe(false);
  });

  it("take a new unit where a checkpoint from elsewhere holds none that can be", async () => {
    for (const unit of [Number.NaN, -1, 0.3, Number.POSITIVE_INFINITY, 2 ** -120]) {
      const shard = shardOf(OPTIMIZERS.adam);
      shard.snapshot().downlinkGrid[0] = unit;
      await doStep(shard, 0, OPTIMIZERS.adam);
      // Two updates of 0.01 each, rounded down to a power of two.
      expect(shard.change()?.unit).toBe(2 ** -6);
    }
  });
});
