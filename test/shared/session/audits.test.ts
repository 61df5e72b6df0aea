import { describe, expect, it } from "vitest";
import { dataset, defineSession, localData, loss, nn, optim, type SessionOptions } from "../../../shared/nn/index.ts";
import { auditsOf, DEFAULT_AUDITS } from "../../../shared/session/audits.ts";
import { parseDefinition } from "../../../shared/session/validate.ts";

const BUDGET = { parameters: 1_000, nodes: 100, flops: 1e9, bytes: 1e9 };

const hosted = dataset("points", { x: "x", y: "y", train: [0, 100] });
const local = localData({
  x: "x",
  y: "y",
  columns: [
    { name: "x", dtype: "float32", shape: [2] },
    { name: "y", dtype: "int32", shape: [] },
  ],
  samplesPerEpoch: 100,
});

const define = (options: Partial<SessionOptions> = {}) =>
  defineSession({
    title: "Audited",
    model: nn.sequential(nn.linear(2, 2)),
    input: [2],
    loss: loss.crossEntropy(),
    optimizer: optim.sgd({ lr: 0.1 }),
    data: hosted,
    batchSize: 32,
    epochs: 1,
    ...options,
  });

describe("a session's audits", () => {
  it("are on by themselves, where somebody else could compute the same", () => {
    expect(auditsOf(define())).toEqual(DEFAULT_AUDITS);
    expect(auditsOf(define({ codec: "packed8" }))).toEqual(DEFAULT_AUDITS);
    expect(auditsOf(define({ data: local }))).toBeNull();
    expect(auditsOf(define({ codec: "sparse10" }))).toBeNull();
    expect(auditsOf(define({ audits: "off" }))).toBeNull();
  });

  it("take what is given and the defaults for the rest, and read back", () => {
    const referee = "0".repeat(64);
    const definition = define({ audits: { rate: 0.2, referee } });
    expect(definition.audits).toEqual({ newcomers: DEFAULT_AUDITS.newcomers, rate: 0.2, referee });
    expect(auditsOf(parseDefinition(JSON.parse(JSON.stringify(definition)), BUDGET))).toEqual(definition.audits);
    expect(parseDefinition(JSON.parse(JSON.stringify(define())), BUDGET)).not.toHaveProperty("audits");
  });

  it("are refused where they are asked for and nobody else could", () => {
    const refused = (options: Partial<SessionOptions>): unknown =>
      parseDefinition(JSON.parse(JSON.stringify(define(options))), BUDGET);
    expect(() => refused({ data: local, audits: { rate: 0.1 } })).toThrow(/nobody else has a volunteer's own data/);
    expect(() => refused({ codec: "sparse5", audits: { rate: 0.1 } })).toThrow(/sparse5/);
    expect(() => refused({ audits: { rate: 1.5 } })).toThrow(/audits/);
    expect(() => refused({ audits: { newcomers: -1 } })).toThrow(/audits/);
    expect(() => refused({ audits: { referee: "somebody" } })).toThrow(/audits/);
  });
});
