import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildGraph, dataset, defineSession, loss, nn, optim } from "../../../shared/nn/index.ts";
import type { DatasetManifest } from "../../../shared/session/dataset.ts";
import type { HostedData, SessionDefinition } from "../../../shared/session/definition.ts";
import { parseManifest } from "../../../shared/session/manifest.ts";
import { planRun } from "../../../shared/session/plan.ts";
import { checkDataset, parseDefinition } from "../../../shared/session/validate.ts";
import { samplesIn } from "../../../shared/session/window.ts";

const BUDGET = { parameters: 1e6, nodes: 1000, flops: 1e12, activationBytes: 1e9 };
const LENGTH = 8;

const tokens = { x: "tokens", y: { column: "tokens", shift: 1 } } as const;

/** A model of 16 tokens, from 8 of them to the next of each. */
const session = (data: HostedData): SessionDefinition =>
  defineSession({
    title: "Windows",
    model: nn.sequential(nn.embedding(16, 4), nn.linear(4, 16)),
    input: { x: { dtype: "int32", shape: [LENGTH] } },
    loss: loss.crossEntropy({ classAxis: -1 }),
    optimizer: optim.adam(),
    data,
    batchSize: 4,
    microBatch: 2,
    epochs: 1,
  });

const parse = (data: unknown): SessionDefinition =>
  parseDefinition(
    JSON.parse(JSON.stringify({ ...session(dataset("t", { ...tokens, window: LENGTH, train: [0, 100] })), data })),
    BUDGET,
  );

const text = (data: Partial<HostedData> = {}): HostedData => ({
  ...dataset("t", { ...tokens, window: LENGTH, train: [0, 100] }),
  ...data,
});

const manifest = (column: Partial<DatasetManifest["columns"][number]> = {}, samples = 100): DatasetManifest =>
  parseManifest({
    format: 1,
    name: "t",
    columns: [{ name: "tokens", dtype: "uint8", shape: [], ...column }],
    samples,
    chunkSamples: samples,
    chunks: ["0".repeat(64)],
    splits: {},
  });

describe("windows", () => {
  it("are as many as there are beginnings from which every input finds its rows", () => {
    const small = fc.integer({ min: 1, max: 12 });
    const shifts = fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 3 });
    fc.assert(
      fc.property(small, small, shifts, fc.integer({ min: 0, max: 60 }), (length, stride, shifts, rows) => {
        const inputs = Object.fromEntries(shifts.map((shift, i) => [i, { column: "c", scale: 1, offset: 0, shift }]));
        const fits = (i: number) => [0, ...shifts].every((shift) => i * stride + shift + length <= rows);
        const counted = Array.from({ length: rows + 1 }, (_, i) => i).filter(fits).length;
        expect(samplesIn({ window: { length, stride }, inputs }, [7, 7 + rows])).toBe(counted);
      }),
      { seed: 5 },
    );
  });

  it("are a plan's samples, split by split", () => {
    const data = text({ train: [0, 50], validation: [50, 67], test: [67, 100] });
    // 6 begin in 50 rows (the seventh lacks the target of its last row), 2 in 17, 4 in 33.
    expect(planRun(parse(data))).toMatchObject({
      trainSamples: 6,
      validationSamples: 2,
      testSamples: 4,
      stepsPerEpoch: 2,
    });
    expect(planRun(parse({ ...data, window: { length: LENGTH, stride: 1 } })).trainSamples).toBe(42);
  });

  it("lie as far apart as they are long unless the session says otherwise", () => {
    expect(text().window).toEqual({ length: LENGTH, stride: LENGTH });
    expect(dataset("t", { ...tokens, window: { length: 8, stride: 3 }, train: [0, 9] }).window).toEqual({
      length: 8,
      stride: 3,
    });
    expect("window" in dataset("t", { x: "a", y: "b", train: [0, 9] })).toBe(false);
  });

  it("read columns of rows: a token each, or several values each", () => {
    expect(() => checkDataset(parse(text()), manifest())).not.toThrow();
    expect(() => checkDataset(parse(text()), manifest({ dtype: "int32" }))).not.toThrow();
    expect(() => checkDataset(parse(text()), manifest({ shape: [2] }))).toThrow(
      /data.inputs.x: a sample has 8 values \[8\], the column tokens has 16 \[8,2\]/,
    );
    expect(() => checkDataset(parse(text()), manifest({ dtype: "float32" }))).toThrow(/an int32 input takes integers/);
    expect(() => checkDataset(parse(text()), manifest({}, 99))).toThrow(
      /data.train is 0..100, the data set t has 99 rows/,
    );
  });

  const refusals: readonly (readonly [what: string, data: unknown, complaint: RegExp])[] = [
    ["a split too short for one", text({ train: [0, 8] }), /data.train: 8 rows are no window, which takes 9/],
    ["a held-out split too short for one", text({ validation: [100, 104] }), /data.validation: 4 rows are no window/],
    ["a length of 0", text({ window: { length: 0, stride: 1 } }), /data.window.length/],
    ["a stride of 0", text({ window: { length: 8, stride: 0 } }), /data.window.stride/],
    ["a length that is no whole number", text({ window: { length: 8.5, stride: 1 } }), /data.window.length/],
    ["a length beyond all numbers", text({ window: { length: 2 ** 53, stride: 1 } }), /data.window.length/],
    [
      "a length that no split holds",
      text({ window: { length: 2 ** 52, stride: 1 } }),
      /data.train: 100 rows are no window/,
    ],
    [
      "a shift backwards",
      text({ inputs: { ...text().inputs, y: { column: "tokens", scale: 1, offset: 0, shift: -1 } } }),
      /data.inputs.y.shift/,
    ],
    [
      "a shift past the end",
      text({ inputs: { ...text().inputs, y: { column: "tokens", scale: 1, offset: 0, shift: 2 ** 52 } } }),
      /data.train: 100 rows are no window/,
    ],
    [
      "more than a length and a stride",
      text({ window: { length: 8, stride: 8, random: true } as never }),
      /data.window/,
    ],
    ["overlapping splits", text({ validation: [90, 120] }), /overlap/],
  ];
  for (const [what, data, complaint] of refusals) {
    it(`are refused with ${what}`, () => {
      expect(() => parse(data)).toThrow(complaint);
    });
  }

  it("shift only where they are windows", () => {
    const { window: _, ...whole } = text();
    expect(() => parse(whole)).toThrow(/data.inputs.y.shift: only windows are shifted/);
    const columns = [{ name: "tokens", dtype: "int32", shape: [LENGTH] }];
    const local = { source: "local", columns, inputs: whole.inputs, samplesPerEpoch: 10 };
    expect(() => parse(local)).toThrow(/data.inputs.y.shift: only windows are shifted/);
    expect(() => parse({ ...local, window: { length: 8, stride: 8 } })).toThrow(/window/);
  });

  it("give a model of language its graph: int32 tokens in, one next token for each", () => {
    const { graph } = session(text());
    expect(graph.inputs.map(({ dtype, shape }) => [dtype, ...shape])).toEqual([
      ["int32", "N", 8],
      ["int32", "N", 8],
      ["float32", "N"],
    ]);
    expect(
      buildGraph({ model: nn.embedding(16, 4), loss: loss.mse(), input: { x: { dtype: "int32", shape: [2] } } })
        .inputs[0].dtype,
    ).toBe("int32");
  });
});
