/** What a client's results leave out comes with a later one: nothing is lost, and nothing is counted twice. */

import { describe, expect, it } from "vitest";
import { ErrorFeedback } from "../../client/core/feedback.ts";
import { CODECS, gridScale, largestSparse } from "../../shared/codec/index.ts";

const PARAMETERS = 600;
const MICRO_BATCHES = 4;
const ROUNDING = CODECS.top10.roundingBits(MICRO_BATCHES);
const MAGNITUDE = CODECS.top10.magnitudeBits(MICRO_BATCHES);
const exponents = Uint8Array.of(124, 120, 126);
const grids = {
  exponents,
  roundingBits: ROUNDING,
  magnitudeBits: MAGNITUDE,
  largest: largestSparse(MICRO_BATCHES),
};

/** A made-up gradient, within half of the grid's range. */
const gradient = (step: number): Float64Array =>
  Float64Array.from({ length: PARAMETERS }, (_, at) => {
    const range = 2 ** (exponents[Math.floor(at / 256)] - 128);
    return Math.sin(at * 12.9898 + step * 78.233) ** 5 * range;
  });

const sumsOf = (values: Float64Array): Int32Array =>
  Int32Array.from(values, (value, at) => Math.round(value * gridScale(ROUNDING, exponents[Math.floor(at / 256)])));

const sentOf = (sums: Int32Array): Float64Array =>
  Float64Array.from(sums, (value, at) => value / gridScale(MAGNITUDE, exponents[Math.floor(at / 256)]));

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
    feedback.select(step, sums, grids);
    const accepted = fate(step) === "accepted";
    feedback.settle(step, accepted);
    if (!accepted) continue;
    add(computed, values);
    add(arrived, sentOf(sums));
  }
  return { computed, arrived };
}

/** What a feedback still owes: all of it is sent by results without a gradient of their own. */
function drain(feedback: ErrorFeedback): Float64Array {
  const owed = new Float64Array(PARAMETERS);
  for (let lease = 1000; lease < 1100; lease++) {
    const sums = new Int32Array(PARAMETERS);
    feedback.select(lease, sums, grids);
    add(owed, sentOf(sums));
    feedback.settle(lease, true);
  }
  return owed;
}

function expectClose(found: Float64Array, expected: Float64Array): void {
  for (let at = 0; at < PARAMETERS; at++) {
    const unit = 1 / gridScale(MAGNITUDE, exponents[Math.floor(at / 256)]);
    expect(Math.abs(found[at] - expected[at]), `value ${at}`).toBeLessThanOrEqual(0.51 * unit);
  }
}

describe("error feedback", () => {
  it("sends the largest sums only, at most as many as the codec says", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 0.1);
    const sums = sumsOf(gradient(0));
    const before = sums.slice();
    feedback.select(1, sums, grids);
    const sent = [...sums.keys()].filter((at) => sums[at] !== 0);
    expect(sent.length).toBeGreaterThan(40);
    expect(sent.length).toBeLessThanOrEqual(60);
    const valueAt = (at: number): number => Math.abs(before[at]) / gridScale(ROUNDING, exponents[Math.floor(at / 256)]);
    const least = Math.min(...sent.map(valueAt));
    const largestLeft = Math.max(...[...sums.keys()].filter((at) => sums[at] === 0).map(valueAt));
    // They are told apart by the upper half of a float32: to one part in 128.
    expect(largestLeft).toBeLessThanOrEqual(least * (1 + 1 / 64));
  });

  it("sends as many as it may of equal ones, and the others next", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 0.1);
    const sums = sumsOf(new Float64Array(PARAMETERS).fill(2 ** -6));
    const sent = new Set<number>();
    for (let step = 0; step < 10; step++) {
      const next = step === 0 ? sums : new Int32Array(PARAMETERS);
      feedback.select(step, next, grids);
      for (const [at, value] of next.entries()) if (value !== 0) sent.add(at);
      expect(sent.size).toBe(60 * (step + 1));
    }
  });

  it("sends later what it left out, to half a unit of the grid", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 0.1);
    const { computed, arrived } = send(feedback, 40);
    add(arrived, drain(feedback));
    expectClose(arrived, computed);
  });

  it("owes what it owed before where a result is dropped: another client computed it", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 0.1);
    const { computed, arrived } = send(feedback, 40, (step) => (step % 3 === 1 ? "dropped" : "accepted"));
    add(arrived, drain(feedback));
    expectClose(arrived, computed);
  });

  it("keeps what one result cannot carry", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 1);
    const values = gradient(0);
    const narrow = { ...grids, largest: 1 };
    const sums = sumsOf(values);
    feedback.select(1, sums, narrow);
    feedback.settle(1, true);
    expect(Math.max(...sums.map(Math.abs))).toBe(1);
    const arrived = sentOf(sums);
    add(arrived, drain(feedback));
    expectClose(arrived, values);
  });

  it("is forgiven where nobody knows what became of a result, and not where that is known", () => {
    const feedback = new ErrorFeedback(PARAMETERS, 0.1);
    send(feedback, 3);
    feedback.lose();
    expect(drain(feedback).some((value) => value !== 0)).toBe(true);
    send(feedback, 3);
    feedback.select(9, sumsOf(gradient(9)), grids);
    feedback.lose();
    feedback.settle(9, true);
    expect(drain(feedback).every((value) => value === 0)).toBe(true);
  });

  it("refuses sums of another size", () => {
    expect(() => new ErrorFeedback(PARAMETERS, 0.1).select(1, new Int32Array(8), grids)).toThrow("expected 600");
  });
});
