/** What a client's results leave out comes with a later one: nothing is lost, and nothing is counted twice. */

import { describe, expect, it } from "vitest";
import { ErrorFeedback } from "../../client/core/feedback.ts";
import type { Coarse } from "../../client/core/result.ts";
import {
  CODECS,
  fromBfloat16,
  gridScale,
  LARGEST_MULTIPLE,
  largestSum,
  matrixOf,
  onGrid,
} from "../../shared/codec/index.ts";

const PARAMETERS = 600;
const MICRO_BATCHES = 4;
const BITS = CODECS.sparse10.magnitudeBits(MICRO_BATCHES);
const exponents = Uint8Array.of(124, 120, 126);
const grid = { exponents, magnitudeBits: BITS, largest: largestSum("sparse10", MICRO_BATCHES, MICRO_BATCHES) };
const scaleAt = (at: number): number => gridScale(BITS, exponents[Math.floor(at / 256)]);

/** A made-up gradient, within half of the grid's range. */
const gradient = (step: number): Float64Array =>
  Float64Array.from({ length: PARAMETERS }, (_, at) => {
    const range = 2 ** (exponents[Math.floor(at / 256)] - 128);
    return Math.sin(at * 12.9898 + step * 78.233) ** 5 * range;
  });

const sumsOf = (values: Float64Array): Int32Array =>
  Int32Array.from(values, (value, at) => Math.round(value * scaleAt(at)));

/** What the coordinator makes of them. */
const arrivedOf = (multiples: Int32Array, { unit }: Coarse): Float64Array =>
  Float64Array.from(multiples, (multiple, at) => onGrid(multiple, unit, scaleAt(at)) / scaleAt(at));

const add = (sum: Float64Array, values: Float64Array): void => {
  for (let at = 0; at < sum.length; at++) sum[at] += values[at];
};

/** Sends `steps` gradients; `fate` says what becomes of each. What was sent and accepted, and what was computed, summed up. */
function send(
  feedback: ErrorFeedback,
  steps: number,
  fate: (step: number) => "accepted" | "dropped" = () => "accepted",
) {
  const computed = new Float64Array(PARAMETERS);
  const arrived = new Float64Array(PARAMETERS);
  for (let step = 0; step < steps; step++) {
    const values = gradient(step);
    const sums = sumsOf(values);
    const coarse = feedback.select(step, sums, grid);
    const accepted = fate(step) === "accepted";
    feedback.settle(step, accepted);
    if (!accepted) continue;
    add(computed, values);
    add(arrived, arrivedOf(sums, coarse));
  }
  return { computed, arrived };
}

/** What a feedback still owes, sent by results without a gradient of their own, and the last one's unit. */
function drain(feedback: ErrorFeedback): { owed: Float64Array; unit: number } {
  const owed = new Float64Array(PARAMETERS);
  let unit = 0;
  for (let lease = 1000; lease < 1060; lease++) {
    const sums = new Int32Array(PARAMETERS);
    const coarse = feedback.select(lease, sums, grid);
    add(owed, arrivedOf(sums, coarse));
    feedback.settle(lease, true);
    ({ unit } = coarse);
  }
  return { owed, unit };
}

/** To the unit, which is the smaller the more is sent, and some units of the grid: sums are rounded to it, once a result. */
function expectClose(found: Float64Array, expected: Float64Array, unit: number): void {
  for (let at = 0; at < PARAMETERS; at++) {
    const apart = Math.abs(found[at] - expected[at]);
    expect(apart, `value ${at}`).toBeLessThanOrEqual(0.51 * unit + 100 / scaleAt(at));
  }
}

describe("error feedback", () => {
  it("sends the largest sums only, at most as many as the codec says, each to half a unit", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 0.1);
    const values = gradient(0);
    const sums = sumsOf(values);
    const coarse = feedback.select(1, sums, grid);
    const sent = [...sums.keys()].filter((at) => sums[at] !== 0);
    expect(sent.length).toBeGreaterThan(50);
    expect(sent.length).toBeLessThanOrEqual(60);
    const arrived = arrivedOf(sums, coarse);
    for (const at of sent) expect(Math.abs(arrived[at] - values[at])).toBeLessThanOrEqual(0.501 * coarse.unit);
    const largestLeft = Math.max(...[...sums.keys()].filter((at) => sums[at] === 0).map((at) => Math.abs(values[at])));
    // They are told apart by the upper half of a float32: to one part in 128.
    expect(largestLeft).toBeLessThanOrEqual((coarse.unit / 2) * (1 + 1 / 64));
  });

  it("sends as many as it may of equal ones, and others next", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 0.1);
    const sums = sumsOf(new Float64Array(PARAMETERS).fill(2 ** -6));
    feedback.select(0, sums, grid);
    expect(sums.reduce((count, value) => count + Math.abs(value), 0)).toBe(60);
    const next = new Int32Array(PARAMETERS);
    feedback.select(1, next, grid);
    expect(next.reduce((count, value) => count + Math.abs(value), 0)).toBe(60);
  });

  it("chooses a unit by the largest where fewer differ from zero than may go", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 0.1);
    const values = new Float64Array(PARAMETERS);
    for (const [at, value] of [2 ** -4, 2 ** -8, 2 ** -13, 2 ** -30].entries()) values[at] = value;
    const sums = sumsOf(values);
    const coarse = feedback.select(1, sums, grid);
    expect(arrivedOf(sums, coarse).subarray(0, 3)).toEqual(values.subarray(0, 3));
    expect(sums[3]).toBe(0);
  });

  it("sends later what it left out", () => {
    for (const part of [0.05, 0.1, 1]) {
      const feedback = new ErrorFeedback(PARAMETERS, part);
      const { computed, arrived } = send(feedback, 40);
      const { owed, unit } = drain(feedback);
      add(arrived, owed);
      expectClose(arrived, computed, unit);
      if (part === 1) expect(unit).toBeLessThan(1e-12);
    }
  });

  it("owes what it owed before where a result is dropped: another client computed it", () => {
    for (const part of [0.1, 1]) {
      const feedback = new ErrorFeedback(PARAMETERS, part);
      const { computed, arrived } = send(feedback, 40, (step) => (step % 3 === 1 ? "dropped" : "accepted"));
      const { owed, unit } = drain(feedback);
      add(arrived, owed);
      expectClose(arrived, computed, unit);
    }
  });

  it("keeps what one result cannot carry, and sends no sum beyond its lease's", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 1);
    const values = gradient(0);
    values[0] = 2 ** -4;
    values[300] = 2 ** -9;
    const narrow = { ...grid, largest: 2 ** BITS };
    const sums = sumsOf(values);
    const coarse = feedback.select(1, sums, narrow);
    feedback.settle(1, true);
    expect(Math.max(...sums.map(Math.abs))).toBeLessThanOrEqual(LARGEST_MULTIPLE);
    const arrived = arrivedOf(sums, coarse);
    for (const [at, value] of arrived.entries()) expect(Math.abs(value * scaleAt(at))).toBeLessThanOrEqual(2 ** BITS);
    const { owed, unit } = drain(feedback);
    add(arrived, owed);
    expectClose(arrived, values, unit);
  });

  it("says the squares of the gradient itself by row and column, whatever was owed", () => {
    const matrix = matrixOf(256, [4, 8]);
    const feedback = new ErrorFeedback(PARAMETERS, 0.1, [matrix]);
    send(feedback, 3);
    const values = gradient(3);
    const squares = fromBfloat16(feedback.select(9, sumsOf(values), grid, true).squares);
    expect(squares).toHaveLength(12);
    const part = [...values.subarray(256, 288)].map((value) => value * value);
    const rows = [0, 1, 2, 3].map((row) => part.slice(row * 8, row * 8 + 8).reduce((sum, square) => sum + square));
    const columns = Array.from({ length: 8 }, (_, at) => [0, 8, 16, 24].reduce((sum, row) => sum + part[row + at]!, 0));
    for (const [at, square] of [...rows, ...columns].entries())
      expect(Math.abs(squares[at]! / square - 1)).toBeLessThan(0.005);
    expect(feedback.select(10, sumsOf(values), grid).squares).toHaveLength(0);
  });

  it("is forgiven where nobody knows what became of a result, and not where that is known", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 0.1);
    send(feedback, 3);
    feedback.lose();
    expect(drain(feedback).owed.some((value) => value !== 0)).toBe(true);
    send(feedback, 3);
    feedback.select(9, sumsOf(gradient(9)), grid);
    feedback.lose();
    feedback.settle(9, true);
    expect(drain(feedback).owed.every((value) => value === 0)).toBe(true);
  });

  it("refuses sums of another size", () => {
    expect(() => new ErrorFeedback(PARAMETERS, 0.1).select(1, new Int32Array(8), grid)).toThrow("expected 600");
  });
});
