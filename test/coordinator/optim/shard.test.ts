import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  createKernels,
  LocalParameterShard,
  type StepLog,
  type StepRecord,
  updateRule,
} from "../../../coordinator/optim/index.ts";
import {
  blockCount,
  CODECS,
  encodeSums,
  findPackingFault,
  gridScale,
  MOST_BITS,
  unpack,
} from "../../../shared/codec/index.ts";
import { optim } from "../../../shared/nn/index.ts";
import type { GradientCodec } from "../../../shared/session/definition.ts";
import type { OptimizerOptions } from "../../../shared/session/optimizer.ts";

const module = new WebAssembly.Module(
  readFileSync(new URL("../../../coordinator/optim/kernels.wasm", import.meta.url)),
);
const PARAMETERS = 1028;
const BITS = 20;
const MICRO_BATCHES = 8;
const EXPONENT = 120;
const adam = optim.adam({ lr: 0.01 });
const announced = new Uint8Array(blockCount(PARAMETERS)).fill(EXPONENT);

const parameters = [
  { name: "weight", shape: [PARAMETERS], offset: 0, trainable: true, init: { kind: "constant", value: 0 } as const },
];

function shardOf(log: StepLog, optimizer: OptimizerOptions = adam, codec: GradientCodec = "fixed32") {
  const rule = updateRule({ graph: { parameters }, optimizer });
  const kernels = createKernels(module, PARAMETERS, rule.states);
  const shard = new LocalParameterShard({ kernels, rule, codec, bits: BITS, microBatches: MICRO_BATCHES, log });
  shard.weights().set(Array.from({ length: PARAMETERS }, (_, at) => Math.sin(at)));
  return shard;
}

const sumsOf = (step: number): Int32Array =>
  Int32Array.from({ length: PARAMETERS }, (_, at) => Math.round(Math.cos(at * (step + 1)) * 30_000));
const bytesOf = (values: Int32Array | Int16Array): Uint8Array => new Uint8Array(values.buffer);
const weight = 2n ** 24n * 128n;

async function doStep(shard: LocalParameterShard, step: number, optimizer: OptimizerOptions = adam, scale = 1) {
  shard.begin(announced);
  shard.add([bytesOf(sumsOf(step))], MICRO_BATCHES);
  await shard.prepare(step, { weight, maxima: announced });
  await shard.commit(step, { scale, optimizers: [optimizer] });
}

const once = { scale: 1, optimizers: [adam] };

const bits = (kept: Readonly<Record<string, Float32Array>>) =>
  Object.values(kept).map((values) => new Uint32Array(values.slice().buffer));

/** The integers of a record. */
function loggedSums({ codec, sums }: Pick<StepRecord, "codec" | "sums">): Int32Array {
  if (codec !== "packed") return new Int32Array(sums.buffer);
  const values = new Int32Array(PARAMETERS);
  expect(findPackingFault(sums, sums.byteLength, PARAMETERS, MOST_BITS)).toBeNull();
  unpack(sums, values);
  return values;
}

describe("a parameter shard", () => {
  it.each([
    ["as they are", adam, 0, () => 1],
    ["clipped by their norm", adam, 0, (step: number) => 1 / (1 + (step % 3))],
    ["and weights that decay", optim.adamW({ lr: 0.01, weightDecay: 0.5 }), 0.5, () => 1],
  ] as const)(
    "does Adam's update as its formula in float64, to float32's precision: gradients %s",
    async (_, optimizer, decay, scaleOf) => {
      const shard = shardOf({ append: () => {} }, optimizer);
      const w = Float64Array.from(shard.weights());
      const m = new Float64Array(PARAMETERS);
      const v = new Float64Array(PARAMETERS);
      for (let step = 0; step < 20; step++) {
        await doStep(shard, step, optimizer, scaleOf(step));
        const sums = sumsOf(step);
        for (let at = 0; at < PARAMETERS; at++) {
          const g = (scaleOf(step) * sums[at]) / gridScale(BITS, EXPONENT) / 128;
          m[at] = 0.9 * m[at] + 0.1 * g;
          v[at] = 0.999 * v[at] + 0.001 * g * g;
          const denominator = Math.sqrt(v[at]) / Math.sqrt(1 - 0.999 ** (step + 1)) + 1e-8;
          w[at] -= 0.01 * decay * w[at] + (0.01 / (1 - 0.9 ** (step + 1))) * (m[at] / denominator);
        }
      }
      for (let at = 0; at < PARAMETERS; at++) expect(shard.weights()[at]).toBeCloseTo(w[at], 5);
    },
  );

  it("does plain gradient descent: w ← w − lr·g", async () => {
    const descent = optim.sgd({ lr: 0.5 });
    const shard = shardOf({ append: () => {} }, descent);
    const before = shard.weights().slice();
    await doStep(shard, 0, descent);
    const sums = sumsOf(0);
    for (let at = 0; at < PARAMETERS; at++) {
      expect(shard.weights()[at]).toBeCloseTo(before[at] - (0.5 * sums[at]) / gridScale(BITS, EXPONENT) / 128, 6);
    }
  });

  it.each(["fixed32", "fixed16", "packed15"] as const)(
    "adds %s sums wherever the pieces that they come in were cut",
    (codec) => {
      // More than one window of the kernels' memory, however they travel; the last group of 64 is not full.
      const count = 140_020;
      const values = Int32Array.from({ length: count }, (_, at) => ((at * 37) % 30_011) - 15_000);
      const bytes = encodeSums(values, codec);
      for (const cuts of [[], [1], [3, 262_143, 262_144, 262_145], [130_001, 130_001]]) {
        const places = [0, ...cuts.filter((cut) => cut < bytes.length), bytes.length];
        const kernels = createKernels(module, count, []);
        kernels.sums.fill(5);
        kernels.add(
          places.slice(1).map((end, index) => bytes.subarray(places[index], end)),
          CODECS[codec].frame,
        );
        expect(kernels.sums.findIndex((sum, at) => sum !== values[at] + 5)).toBe(-1);
      }
    },
  );

  it("adds contributions in any number of parts, of either width", () => {
    const shard = shardOf({ append: () => {} }, optim.adam(), "fixed16");
    shard.begin(announced);
    const part = Int16Array.from({ length: PARAMETERS }, (_, at) => (at % 2 === 0 ? at : -at));
    for (let count = 0; count < 3; count++) shard.add([bytesOf(part)], MICRO_BATCHES);
    expect(() => shard.add([new Uint8Array(8)], MICRO_BATCHES)).toThrow(RangeError);
  });

  it("adds packed sums of every width, also negative ones, as the integers that they are", async () => {
    const records: StepRecord[] = [];
    for (let width = 1; width <= 18; width++) {
      const shard = shardOf(
        { append: (record) => records.push({ ...record, sums: record.sums.slice() }) },
        adam,
        "packed15",
      );
      shard.begin(announced);
      const low = -(2 ** (width - 1));
      // Both ends of the range, and a group of zeros.
      const part = Int32Array.from({ length: PARAMETERS }, (_, at) =>
        at >= 128 && at < 192 ? 0 : at % 5 === 0 ? low : at % 3 === 0 ? -1 - low : ((at * 2654435761) % -low) | 0,
      );
      for (let count = 0; count < 3; count++) shard.add([encodeSums(part, "packed15")], MICRO_BATCHES);
      await shard.prepare(0, { weight, maxima: announced });
      await shard.commit(0, once);
      const { codec, sums } = records.at(-1)!;
      expect(codec, `${width} bits`).toBe(width <= 14 ? "packed" : "fixed32");
      expect([...loggedSums({ codec, sums })], `${width} bits`).toEqual([...part.map((value) => value * 3)]);
    }
  });

  it.each([[0], [127, -128, 1], [128], [-129], [32_767, -32_768], [32_768], [-32_769]])(
    "logs %j as they are, in as few bytes as groups of 8 and 16 bits take",
    async (...values) => {
      const records: StepRecord[] = [];
      const shard = shardOf({ append: (record) => records.push({ ...record, sums: record.sums.slice() }) });
      shard.begin(announced);
      // One in the first group, one in the last, which is not full, and nothing between them.
      const sums = new Int32Array(PARAMETERS);
      for (const [at, value] of values.entries()) sums.set([value, 0, value], at === 0 ? 0 : PARAMETERS - 4 * at);
      shard.add([bytesOf(sums)], MICRO_BATCHES);
      await shard.prepare(0, { weight, maxima: announced });
      await shard.commit(0, once);
      expect([...loggedSums(records[0])]).toEqual([...sums]);
      const isWide = values.some((value) => value >= 2 ** 15 || value < -(2 ** 15));
      expect(records[0].codec).toBe(isWide ? "fixed32" : "packed");
      expect(records[0].sums.byteLength).toBeLessThan(isWide ? 4 * PARAMETERS + 1 : 400);
      const again = shardOf({ append: () => {} });
      again.replay(records[0]);
      expect(bits(again.snapshot())).toEqual(bits(shard.snapshot()));
    },
  );

  it("replays what older coordinators logged, and refuses a packing that is damaged", async () => {
    const records: StepRecord[] = [];
    const shard = shardOf({ append: (record) => records.push({ ...record, sums: record.sums.slice() }) });
    await doStep(shard, 0);
    const [record] = records;
    expect(record.codec).toBe("packed");
    const older = { ...record, codec: "fixed16", sums: bytesOf(Int16Array.from(loggedSums(record))) } as const;
    const again = shardOf({ append: () => {} });
    again.replay(older);
    expect(bits(again.snapshot())).toEqual(bits(shard.snapshot()));
    for (const sums of [record.sums.slice(0, -4), record.sums.map((byte, at) => (at === 0 ? 32 : byte))]) {
      expect(() => shardOf({ append: () => {} }).replay({ ...record, sums })).toThrow("logged step 0 has sums of");
    }
  });

  it("logs sums that are wider than their codec promised, as a liar's may be, without losing a bit", async () => {
    const records: StepRecord[] = [];
    const log = { append: (record: StepRecord) => records.push({ ...record, sums: record.sums.slice() }) };
    const shard = shardOf(log, adam, "fixed16");
    shard.begin(announced);
    for (let count = 0; count < 2; count++)
      shard.add([encodeSums(new Int32Array(PARAMETERS).fill(32_767), "fixed16")], MICRO_BATCHES);
    await shard.prepare(0, { weight, maxima: announced });
    await shard.commit(0, once);
    const again = shardOf({ append: () => {} }, adam, "fixed16");
    again.replay(records[0]);
    expect(bits(again.snapshot())).toEqual(bits(shard.snapshot()));
  });

  it("replays its log to the same bits of weights and moments", async () => {
    const records: StepRecord[] = [];
    const shard = shardOf({
      append: (record) => records.push({ ...record, sums: record.sums.slice(), announced: record.announced.slice() }),
    });
    for (let step = 0; step < 10; step++) await doStep(shard, step);
    const again = shardOf({ append: () => {} });
    for (const record of records) again.replay(record);
    expect(again.step).toBe(10);
    expect(bits(again.snapshot())).toEqual(bits(shard.snapshot()));
    expect(() => again.replay(records[3])).toThrow(RangeError);
    expect(shardOf({ append: () => {} }).replay(records[0])).toBe(true);
    expect(shardOf({ append: () => {} }).replay({ ...records[0], kernels: "another build" })).toBe(false);
  });

  it.each(["fixed32", "fixed16"] as const)(
    "adds nothing of %s sums of which one is larger than its lease allows",
    (codec) => {
      const count = 140_020;
      const bound = 3 * (2 ** 12 - 1);
      const most =
        codec === "fixed32" ? [bound + 1, -bound - 1, 2 ** 31 - 1, -(2 ** 31)] : [bound + 1, -bound - 1, -32_768];
      const kernels = createKernels(module, count, []);
      kernels.sums.fill(5);
      const values = Int32Array.from({ length: count }, (_, at) => (at % 2 === 0 ? bound : -bound));
      const cut = (from: Int32Array): Uint8Array[] => {
        const bytes = encodeSums(from, codec);
        return [bytes.subarray(0, 130_001), bytes.subarray(130_001)];
      };
      for (const value of most) {
        for (const at of [0, 3, 70_000, count - 1]) {
          const forged = values.slice();
          forged[at] = value;
          expect(kernels.add(cut(forged), codec, bound)).toBe(false);
          expect(kernels.sums.findIndex((sum) => sum !== 5)).toBe(-1);
        }
      }
      expect(kernels.add(cut(values), codec, bound)).toBe(true);
      expect(kernels.sums.findIndex((sum, at) => sum !== values[at] + 5)).toBe(-1);
    },
  );

  it("logs before it changes anything: a log that throws leaves it as it was", async () => {
    const shard = shardOf({
      append: () => {
        throw new Error("disk full");
      },
    });
    const before = bits(shard.snapshot());
    shard.begin(announced);
    shard.add([bytesOf(sumsOf(0))], MICRO_BATCHES);
    await shard.prepare(0, { weight, maxima: announced });
    expect(() => shard.commit(0, once)).toThrow("disk full");
    expect(bits(shard.snapshot())).toEqual(before);
    expect(shard.step).toBe(0);
  });

  it("does a step once: committed again, it only answers", async () => {
    const shard = shardOf({ append: () => {} });
    await doStep(shard, 0);
    const after = bits(shard.snapshot());
    expect(await shard.commit(0, once)).toBe(1);
    expect(bits(shard.snapshot())).toEqual(after);
    expect(() => shard.commit(5, once)).toThrow(RangeError);
  });

  it("knows the squared norm of the mean gradient before it applies it, where lengths are clipped", async () => {
    const rule = updateRule({ graph: { parameters }, optimizer: adam, clipping: { norm: 1 } });
    const kernels = createKernels(module, PARAMETERS, rule.states);
    const log = { append: () => {} };
    const common = { kernels, codec: "fixed32", bits: BITS, microBatches: MICRO_BATCHES, log } as const;
    const shard = new LocalParameterShard({ ...common, rule });
    shard.begin(announced);
    shard.add([bytesOf(sumsOf(0))], MICRO_BATCHES);
    const { squaredNorm } = await shard.prepare(0, { weight, maxima: announced });
    const expected = sumsOf(0).reduce((sum, value) => sum + (value / gridScale(BITS, EXPONENT) / 128) ** 2, 0);
    expect(squaredNorm! / expected).toBeCloseTo(1, 5);
    const unclipped = new LocalParameterShard({ ...common, rule: { ...rule, clipNorm: Number.POSITIVE_INFINITY } });
    unclipped.begin(announced);
    expect(await unclipped.prepare(0, { weight, maxima: announced })).toEqual({ squaredNorm: null });
  });
});
