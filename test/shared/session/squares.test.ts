import { describe, expect, it } from "vitest";
import {
  addSquares,
  fromBfloat16,
  matrixOf,
  spreadSquares,
  squaresLength,
  toBfloat16,
} from "../../../shared/codec/index.ts";
import { dataset, defineSession, loss, nn, optim } from "../../../shared/nn/index.ts";
import type { GradientCodec } from "../../../shared/session/definition.ts";
import type { OptimizerOptions } from "../../../shared/session/optimizer.ts";
import { squaresOf } from "../../../shared/session/squares.ts";
import { parseDefinition } from "../../../shared/session/validate.ts";

const sessionOf = (codec: GradientCodec, optimizer: OptimizerOptions, width = 7) =>
  defineSession({
    title: "Squares",
    model: nn.sequential(nn.linear(5, width), nn.relu(), nn.linear(width, 3)),
    input: [5],
    loss: loss.crossEntropy(),
    optimizer,
    data: dataset("made-up", { x: "x", y: "y", train: [0, 64] }),
    batchSize: 32,
    epochs: 1,
    codec,
  });

describe("sums of squares by row and column", () => {
  it("travel where a codec leaves something behind and the optimizer is Adam", () => {
    // 7 × 5 and 7, 3 × 7 and 3: vectors by their values alone.
    expect(squaresOf(sessionOf("sparse10", optim.adam()))).toBe(7 + 5 + 7 + (3 + 7) + 3);
    expect(squaresOf(sessionOf("sparse10", optim.adamW()))).toBeGreaterThan(0);
    expect(squaresOf(sessionOf("sparse10", optim.sgd({ lr: 0.1 })))).toBe(0);
    expect(squaresOf(sessionOf("packed8", optim.adam()))).toBe(0);
  });

  it("are refused where there are more than a row of the log has room for", () => {
    const budget = { parameters: 1e6, nodes: 100, flops: 1e12, bytes: 1e12 };
    const parse = (optimizer: OptimizerOptions) =>
      parseDefinition(JSON.parse(JSON.stringify(sessionOf("sparse10", optimizer, 90_000))), budget);
    expect(() => parse(optim.adam())).toThrow(/sum of squares for each row and column: 270011, at most 250000/);
    expect(() => parse(optim.sgd({ lr: 0.1 }))).not.toThrow();
  });

  it("give back a matrix that is the product of a column and a row", () => {
    const matrices = [matrixOf(0, [3, 2, 2]), matrixOf(12, [4])];
    const original = Float32Array.from({ length: 16 }, (_, at) =>
      at < 12 ? (1 + Math.floor(at / 4)) * (1 + (at % 4)) : at,
    );
    const squares = new Float64Array(squaresLength(matrices));
    addSquares(matrices, (at) => original[at]!, squares);
    expect([...squares]).toEqual([10, 20, 30, 6, 12, 18, 24, 12, 13, 14, 15]);
    const again = new Float32Array(16);
    spreadSquares(matrices, squares, again);
    for (const [at, value] of original.entries()) expect(again[at]).toBeCloseTo(value, 5);
    spreadSquares(matrices, squares.fill(0), again);
    expect(again.every((value) => value === 0)).toBe(true);
  });

  it("come back from bfloat16 to one part in 256, and what is no number as such", () => {
    const values = Float32Array.of(0, 1, 1.004, 3e-30, 2.5e30, 123.456);
    for (const [at, value] of fromBfloat16(toBfloat16(values)).entries()) {
      expect(Math.abs(value - values[at]!)).toBeLessThanOrEqual(values[at]! / 256);
    }
    for (const value of fromBfloat16(toBfloat16([Number.NaN, Number.POSITIVE_INFINITY, 3.4e38]))) {
      expect(Number.isFinite(value)).toBe(false);
    }
  });
});
