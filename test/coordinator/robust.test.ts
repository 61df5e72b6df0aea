/**
 * Robust aggregation: beside independent NumPy versions (test/fixtures/robust.py) on 1,000 cases, coordinate by coordinate; what a
 * minority of liars can reach; and rows, which do not depend on the order in which anything arrives.
 */

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  aggregatorOf,
  bucketed,
  bucketsOf,
  eachSlice,
  type Input,
  type Rows,
} from "../../coordinator/aggregate/robust/index.ts";
import { rowsBytes, StepRows } from "../../coordinator/aggregate/step-rows.ts";
import { createKernels } from "../../coordinator/optim/index.ts";
import type { RobustAggregation } from "../../shared/session/aggregation.ts";
import { RESULTS, type RobustCase, robustCases } from "../fixtures/robust.ts";

const KERNELS = new WebAssembly.Module(readFileSync(new URL("../../coordinator/optim/kernels.wasm", import.meta.url)));

/** Rows of plain numbers. */
const rowsOf = (values: readonly (readonly number[])[], weights = values.map(() => 1)): Rows => ({
  count: values.length,
  length: values[0].length,
  weights,
  read: (row, from, out) => out.set(values[row].slice(from, from + out.length)),
});

function aggregated(input: Input, options: RobustAggregation): Float64Array {
  const result = new Float64Array(input.rows.length);
  const combine = aggregatorOf(input, options);
  eachSlice(input, (slice, from) => combine(slice, result.subarray(from, from + slice.center.length)));
  return result;
}

const rowsOfCase = ({ sums, units, weights }: RobustCase): Rows =>
  rowsOf(
    sums.map((row, at) => Array.from(row, (sum, index) => (sum * units[index >> 8]) / weights[at])),
    [...weights],
  );

/** What a session without an aggregation does: integers are added, and divided once, by the kernels. */
function plainMean({ length, sums, units, weights }: RobustCase): Float32Array {
  const kernels = createKernels(KERNELS, length, ["mean"]);
  for (const row of sums) kernels.add([new Uint8Array(row.buffer)], "fixed32");
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  kernels.scales.set(units.subarray(0, Math.ceil(length / 256)).map((unit) => unit / total));
  kernels.update("sgd", [], { offset: 0, count: length }, Float32Array.of(1, Number.POSITIVE_INFINITY), "mean");
  return kernels.states.mean.slice();
}

function resultOf(name: (typeof RESULTS)[number], a: RobustCase): ArrayLike<number> {
  const { attackers, radius } = a;
  const rows = rowsOfCase(a);
  const center = Float32Array.from(a.sums[0], (sum, index) => (sum * a.units[index >> 8]) / a.weights[0] / 2);
  const buckets = bucketed(rows, bucketsOf(a.weights, a.order, 2));
  switch (name) {
    case "mean":
      return plainMean(a);
    case "median":
    case "trimmedMean":
    case "multiKrum":
      return aggregated({ rows, center: null }, { kind: name, attackers });
    case "clippedMean":
      return aggregated({ rows, center }, { kind: name, attackers, radius });
    case "centeredClipping":
      return aggregated({ rows, center }, { kind: name, attackers, radius, rounds: 3 });
    case "centeredClipping by the median distance":
      return aggregated({ rows, center }, { kind: "centeredClipping", attackers, rounds: 2 });
    case "median of buckets":
      return aggregated({ rows: buckets, center: null }, { kind: "median", attackers });
    case "clippedMean of buckets":
      return aggregated({ rows: buckets, center: null }, { kind: "clippedMean", attackers, radius });
  }
}

describe("1,000 cases agree with NumPy to 1e-6 in every coordinate", () => {
  const cases = robustCases();
  it.each(RESULTS)("%s", (name) => {
    for (const [number, each] of cases.entries()) {
      const found = resultOf(name, each);
      for (const [at, wanted] of each.expected[name].entries()) {
        const error = Math.abs(found[at] - wanted) / Math.max(1, Math.abs(wanted));
        if (!(error <= 1e-6)) expect.fail(`case ${number}, coordinate ${at}: ${found[at]}, NumPy has ${wanted}`);
      }
    }
  });
});

const KINDS: readonly RobustAggregation[] = [
  { kind: "median", attackers: 4 },
  { kind: "trimmedMean", attackers: 4 },
  { kind: "multiKrum", attackers: 4 },
  { kind: "clippedMean", attackers: 4 },
  { kind: "centeredClipping", attackers: 4, rounds: 2 },
  { kind: "trimmedMean", attackers: 4, bucket: 2 },
  { kind: "clippedMean", attackers: 4, momentum: 0.9 },
];

describe("liars below half", () => {
  const value = fc.double({ min: -1e12, max: 1e12, noNaN: true });
  /** Honest rows in [−1, 1], then f rows of anything. */
  const steps = fc.integer({ min: 1, max: 6 }).chain((attackers) =>
    fc.record({
      attackers: fc.constant(attackers),
      honest: fc.array(fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 5, maxLength: 5 }), {
        minLength: attackers + 1,
        maxLength: 16,
      }),
      liars: fc.array(fc.array(value, { minLength: 5, maxLength: 5 }), { minLength: attackers, maxLength: attackers }),
    }),
  );

  it.each(["median", "trimmedMean"] as const)("the %s stays within the honest values of each coordinate", (kind) => {
    fc.assert(
      fc.property(steps, ({ attackers, honest, liars }) => {
        const result = aggregated({ rows: rowsOf([...honest, ...liars]), center: null }, { kind, attackers });
        for (const [at, found] of result.entries()) {
          const values = honest.map((row) => row[at]);
          expect(found).toBeGreaterThanOrEqual(Math.min(...values) - 1e-12);
          expect(found).toBeLessThanOrEqual(Math.max(...values) + 1e-12);
        }
      }),
      { seed: 7, numRuns: 500 },
    );
  });

  it("move a clipped mean, and centered clipping from its centre, by no more than the longest honest row", () => {
    fc.assert(
      fc.property(steps, ({ attackers, honest, liars }) => {
        const lengths = honest.map((row) => Math.hypot(...row));
        for (const kind of ["clippedMean", "centeredClipping"] as const) {
          const result = aggregated({ rows: rowsOf([...liars, ...honest]), center: null }, { kind, attackers });
          expect(Math.hypot(...result)).toBeLessThanOrEqual(Math.max(...lengths) * (1 + 1e-9));
        }
      }),
      { seed: 7, numRuns: 500 },
    );
  });

  it("are not chosen by multi-Krum where they are far from everybody", () => {
    const honest = Array.from({ length: 16 }, (_, row) => [row / 16, 1]);
    const far = [1e9, -1e9, 5e8, 7e7].map((place) => [place, place]);
    const [first, second] = aggregated(
      { rows: rowsOf([...far, ...honest]), center: null },
      { kind: "multiKrum", attackers: 4 },
    );
    expect(first).toBeCloseTo(15 / 32, 12);
    expect(second).toBeCloseTo(1, 12);
  });

  it("spoil no more buckets than they are, and heavy rows share with light ones", () => {
    const weights = [10, 1, 9, 2, 8, 3, 7, 4];
    const buckets = bucketsOf(weights, [7, 6, 5, 4, 3, 2, 1, 0], 2);
    expect(buckets.map((rows) => rows.reduce((sum, row) => sum + weights[row], 0))).toEqual([11, 11, 11, 11]);
    expect(buckets.flat().toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});

describe("fewer rows than a kind is made for", () => {
  it.each(KINDS)("$kind of one to four rows is a number between them", (options) => {
    for (let count = 1; count <= 4; count++) {
      const rows = rowsOf(Array.from({ length: count }, (_, row) => [row + 1]));
      const [result] = aggregated({ rows, center: null }, options);
      expect(result).toBeGreaterThan(0);
      expect(result).toBeLessThanOrEqual(count);
    }
  });
});

describe("a step's rows", () => {
  const parameters = 700;
  const units = Float64Array.of(2 ** -20, 2 ** -18, 2 ** -22);

  /** 30 leases of 12 clients: some clients have several. */
  const leases = Array.from({ length: 30 }, (_, from) => ({
    part: {
      client: `client ${(from * 5) % 12}`,
      from,
      weight: BigInt(1 + (from % 4)) << 24n,
      maxima: new Uint8Array(3).fill(100 + from),
    },
    sums: Int32Array.from({ length: parameters }, (_, at) => Math.imul(from * 997 + at, 2_654_435_761) >> 12),
  }));
  const total = leases.reduce((sum, { part }) => sum + part.weight, 0n);

  function stepped(aggregation: RobustAggregation, order: readonly number[]): Int32Array {
    const rows = new StepRows({ aggregation, parameters, most: 12, seed: 3 });
    const sums = new Int32Array(parameters);
    // Twice: memory of the first step is used again.
    for (const step of [0, 1]) {
      for (const at of order) rows.add(leases[at].part, leases[at].sums);
      rows.aggregate(step, { units, weight: total, center: new Float32Array(parameters).fill(0.25) }, sums);
      rows.reset();
    }
    return sums;
  }

  it.each(KINDS)(
    "come to the same bytes in whatever order results arrive: $kind, buckets of $bucket",
    (aggregation) => {
      const straight = stepped(aggregation, [...leases.keys()]);
      for (const stride of [7, 11, 13, 29]) {
        expect(
          stepped(
            aggregation,
            leases.map((_, at) => (at * stride + 3) % leases.length),
          ),
        ).toEqual(straight);
      }
    },
  );

  it("are one a client: a hundred results of one liar weigh no more than one", () => {
    const rows = new StepRows({ aggregation: { kind: "median", attackers: 1 }, parameters: 4, most: 200, seed: 0 });
    const add = (client: string, from: number, value: number): void =>
      rows.add({ client, from, weight: 1n << 24n, maxima: new Uint8Array(1) }, new Int32Array(4).fill(value));
    for (let from = 0; from < 100; from++) add("liar", from, 1_000_000);
    for (const [at, client] of ["a", "b", "c"].entries()) add(client, 100 + at, 7 + at);
    const sums = new Int32Array(4);
    rows.aggregate(0, { units: Float64Array.of(1), weight: 4n << 24n, center: null }, sums);
    // The median of 7, 8, 9 and a million, times the weight.
    expect([...sums]).toEqual([34, 34, 34, 34]);
  });

  it("are means by their own weight, and who had none has no say", () => {
    const rows = new StepRows({
      aggregation: { kind: "trimmedMean", attackers: 1 },
      parameters: 4,
      most: 200,
      seed: 0,
    });
    const maxima = new Uint8Array(1);
    rows.add({ client: "a", from: 0, weight: 10n << 24n, maxima }, new Int32Array(4).fill(1000));
    rows.add({ client: "b", from: 1, weight: 1n << 24n, maxima }, new Int32Array(4).fill(100));
    rows.add({ client: "idle", from: 2, weight: 0n, maxima }, new Int32Array(4).fill(-1_000_000));
    const sums = new Int32Array(4);
    rows.aggregate(0, { units: Float64Array.of(0.5), weight: 11n << 24n, center: null }, sums);
    expect([...sums]).toEqual([1100, 1100, 1100, 1100]);
  });

  it("say a sum that is too large for the log as the largest", () => {
    const rows = new StepRows({ aggregation: { kind: "median", attackers: 1 }, parameters: 4, most: 200, seed: 0 });
    const maxima = new Uint8Array(1);
    rows.add({ client: "a", from: 0, weight: 1n, maxima }, Int32Array.of(2 ** 30, -(2 ** 30), 0, 1));
    const sums = new Int32Array(4);
    rows.aggregate(0, { units: Float64Array.of(1), weight: 1n << 24n, center: null }, sums);
    expect([...sums]).toEqual([2 ** 31 - 1, -(2 ** 31 - 1), 0, 2 ** 24]);
  });

  it("take no exponent from as many liars as are expected", () => {
    const rows = new StepRows({ aggregation: { kind: "median", attackers: 2 }, parameters: 4, most: 200, seed: 0 });
    for (const [from, exponent] of [255, 120, 118, 121, 254].entries()) {
      rows.add({ client: `${from}`, from, weight: 1n, maxima: Uint8Array.of(exponent) }, null);
    }
    const maxima = new Uint8Array(1);
    rows.maxima(maxima);
    expect([...maxima]).toEqual([121]);
  });

  it("are each client's moving average where there is momentum, whatever it missed or began with", () => {
    const momentum = 0.75;
    const aggregation = { kind: "clippedMean", attackers: 1, momentum, radius: 1e9 } as const;
    const rows = new StepRows({ aggregation, parameters: 4, most: 2, seed: 0 });
    const sums = new Int32Array(4);
    const step = (number: number, client: string, value: number): number => {
      const weight = 1n << 24n;
      rows.add({ client, from: 0, weight, maxima: new Uint8Array(1) }, new Int32Array(4).fill(value));
      rows.aggregate(number, { units: Float64Array.of(1), weight, center: null }, sums);
      rows.reset();
      return sums[0];
    };
    // A first row is itself: 0.25 g / (1 − 0.75).
    expect(step(0, "a", 1_000_000)).toBe(1_000_000);
    const second = 0.75 * 250_000 + 0.25 * 100_000;
    expect(step(1, "a", 100_000)).toBe(Math.round(second / (1 - 0.75 ** 2)));
    expect(step(2, "b", 8_000_000)).toBe(8_000_000);
    // Away for four steps, which is as long as it says anything.
    expect(step(5, "a", 0)).toBe(Math.round((0.75 * second) / (1 - 0.75 ** 3)));
    expect(step(10, "a", 500)).toBe(500);
    // Room for two: b was away for longest.
    expect(step(10, "b", 0)).toBe(0);
    expect(step(11, "c", 700)).toBe(700);
    expect(step(12, "a", 900)).toBe(900);
    // Taken back to step 12.
    rows.forget();
    expect(step(12, "a", 50)).toBe(50);
  });

  it("are numbers whatever a liar says, also where they are averaged in float32", () => {
    const aggregation = { kind: "clippedMean", attackers: 1, momentum: 0.5 } as const;
    const rows = new StepRows({ aggregation, parameters: 4, most: 4, seed: 0 });
    const sums = new Int32Array(4);
    // As float32, one infinity and then the other.
    for (const [step, lie] of [2 ** 31 - 1, -(2 ** 31 - 1)].entries()) {
      const add = (client: number, weight: bigint, value: number): void =>
        rows.add(
          { client: `${client}`, from: client, weight, maxima: new Uint8Array(1) },
          new Int32Array(4).fill(value),
        );
      add(0, 1n, lie);
      for (const honest of [1, 2, 3]) add(honest, 1n << 24n, 300);
      rows.aggregate(step, { units: Float64Array.of(2 ** 80), weight: 4n << 24n, center: null }, sums);
      rows.reset();
    }
    // Three rows of 300, and one cut to their length, whichever way it points.
    expect([...sums].every((sum) => sum === 1200 || sum === 600)).toBe(true);
  });

  it("take the bytes that are counted for them", () => {
    expect(rowsBytes({ kind: "median", attackers: 1 }, 512, 3)).toBe(3 * (512 * 4 + 2 + 512 * 8));
    expect(rowsBytes({ kind: "median", attackers: 1, momentum: 0.9 }, 512, 3)).toBe(3 * (512 * 8 + 2 + 512 * 8));
  });
});
