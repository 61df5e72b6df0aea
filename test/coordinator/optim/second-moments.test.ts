/** Adam where squares come by row and column: as the formula says in float64, and again the same from its records. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  createKernels,
  LocalParameterShard,
  type StepLog,
  type StepRecord,
  updateRule,
} from "../../../coordinator/optim/index.ts";
import { CODECS, carriesSquares, encodeSums, gridScale, lastSquares } from "../../../shared/codec/index.ts";
import { optim } from "../../../shared/nn/index.ts";

const module = new WebAssembly.Module(
  readFileSync(new URL("../../../coordinator/optim/kernels.wasm", import.meta.url)),
);
const [ROWS, COLUMNS, BIASES] = [12, 21, 8] as const;
const PARAMETERS = ROWS * COLUMNS + BIASES;
const MICRO_BATCHES = 4;
const BITS = CODECS.sparse20.magnitudeBits(MICRO_BATCHES);
const UNIT = 2 ** -6;
const EXPONENT = 126;
const announced = Uint8Array.of(EXPONENT, EXPONENT);
const STEPS = 40;
const SCALE = 0.75;
const adam = optim.adam({ lr: 0.01, betas: [0.9, 0.99] });
const init = { kind: "constant", value: 0 } as const;
const graph = {
  parameters: [
    { name: "weight", shape: [ROWS, COLUMNS], offset: 0, trainable: true, init },
    { name: "bias", shape: [BIASES], offset: ROWS * COLUMNS, trainable: true, init },
  ],
};

function shardOf(log: StepLog): LocalParameterShard {
  const rule = updateRule({ graph, optimizer: adam, codec: "sparse20" });
  const kernels = createKernels(module, PARAMETERS, rule.states);
  const shard = new LocalParameterShard({
    kernels,
    rule,
    codec: "sparse20",
    bits: BITS,
    microBatches: MICRO_BATCHES,
    log,
  });
  shard.weights().set(Array.from({ length: PARAMETERS }, (_, at) => Math.sin(at)));
  return shard;
}

function squaresOf(squareAt: (at: number) => number): Float64Array {
  const squares = new Float64Array(ROWS + COLUMNS + BIASES);
  for (let at = 0; at < ROWS * COLUMNS; at++) {
    squares[Math.floor(at / COLUMNS)] += squareAt(at);
    squares[ROWS + (at % COLUMNS)] += squareAt(at);
  }
  for (let at = 0; at < BIASES; at++) squares[ROWS + COLUMNS + at] = squareAt(ROWS * COLUMNS + at);
  return squares;
}

/** Two results of a step: multiples of the unit, weights, and the squares that go with them. */
const resultsOf = (step: number) =>
  [3, 1].map((weight, result) => ({
    weight,
    multiples: Int32Array.from({ length: PARAMETERS }, (_, at) =>
      (at * 7 + step * 13 + result * 5) % 6 === 0 ? ((at + step) % 5) - 2 : 0,
    ),
    squares: squaresOf((at) => weight * (1 + Math.sin(at * 3 + step + result)) * 1e-4),
  }));

async function doStep(shard: LocalParameterShard, step: number): Promise<void> {
  const results = resultsOf(step);
  shard.begin(announced);
  for (const { multiples, weight } of results) {
    expect(shard.add([encodeSums(multiples, "sparse20", UNIT)], weight)).toBe(true);
  }
  const sums = results[0]!.squares.map((square, at) => square + results[1]!.squares[at]!);
  const squares = carriesSquares(step) ? { squares: { sums, weights: 3 ** 2 + 1 ** 2 } } : {};
  await shard.prepare(step, { weight: 4n << 24n, maxima: announced, ...squares });
  await shard.commit(step, { scale: SCALE, optimizers: [adam] });
}

/** The same in float64, as docs/session-file.md says it. */
function reference(): Float64Array {
  const w = Float64Array.from({ length: PARAMETERS }, (_, at) => Math.fround(Math.sin(at)));
  const m = new Float64Array(PARAMETERS);
  const averages = new Float64Array(ROWS + COLUMNS + BIASES);
  let updates = 0;
  let decayed = 1;
  for (let step = 0; step < STEPS; step++) {
    const results = resultsOf(step);
    const gradient = Float64Array.from(
      m,
      (_, at) => (SCALE * UNIT * (results[0]!.multiples[at]! + results[1]!.multiples[at]!)) / 4,
    );
    for (let at = 0; at < PARAMETERS; at++) m[at] = 0.9 * m[at] + 0.1 * gradient[at];
    if (carriesSquares(step)) {
      const [first, second] = results;
      const common = squaresOf((at) => (1 - 10 / 16) * (m[at] / (1 - 0.9 ** (step + 1))) ** 2);
      const squares = common.map((sum, at) => sum + (SCALE ** 2 * (first!.squares[at]! + second!.squares[at]!)) / 16);
      const decay = 0.99 ** (step + 1 - updates);
      updates = step + 1;
      decayed *= decay;
      for (let at = 0; at < averages.length; at++) averages[at] = decay * averages[at] + (1 - decay) * squares[at];
    }
    const total = averages.subarray(0, ROWS).reduce((sum, value) => sum + value, 0);
    for (let at = 0; at < PARAMETERS; at++) {
      const [row, column] = [Math.floor(at / COLUMNS), at % COLUMNS];
      const v =
        at < ROWS * COLUMNS
          ? (averages[row] * averages[ROWS + column]) / total
          : averages[at - ROWS * COLUMNS + ROWS + COLUMNS];
      const mean = m[at] / (1 - 0.9 ** (step + 1));
      const most = (1 - 0.9) / Math.sqrt(1 - 0.99);
      w[at] -= 0.01 * Math.min(most, Math.max(-most, mean / (Math.sqrt(v / (1 - decayed)) + 1e-8)));
    }
  }
  return w;
}

describe("second moments from squares by row and column", () => {
  it("come at every one of the first steps and then at every eighth", () => {
    const steps = Array.from({ length: 40 }, (_, step) => step).filter(carriesSquares);
    expect(steps.slice(14)).toEqual([14, 15, 16, 24, 32]);
    let before = -1;
    for (let step = 0; step < 40; step++) {
      if (carriesSquares(step)) {
        expect(lastSquares(step)).toEqual({ step, gap: step - before });
        before = step;
      } else expect(lastSquares(step).step).toBe(before);
    }
  });

  it("make Adam's update what the formula says in float64", async () => {
    const shard = shardOf({ append: () => {} });
    for (let step = 0; step < STEPS; step++) await doStep(shard, step);
    const expected = reference();
    for (let at = 0; at < PARAMETERS; at++) expect(shard.weights()[at]).toBeCloseTo(expected[at], 4);
  });

  it("keep to Adam's own bound on a step where a gradient comes that no square knows of yet", async () => {
    const shard = shardOf({ append: () => {} });
    const last = 23;
    for (let step = 0; step <= last; step++) {
      // Parameter 0 is alone in having none, until it has one between two steps with squares.
      const multiples = new Int32Array(PARAMETERS).fill(1, 1);
      if (step === last) multiples[0] = 100;
      const squares = squaresOf((at) => (at % COLUMNS === 0 && at < ROWS * COLUMNS ? 1e-20 : UNIT ** 2));
      shard.begin(announced);
      shard.add([encodeSums(multiples, "sparse20", UNIT)], 1);
      const carried = carriesSquares(step) ? { squares: { sums: squares, weights: 1 } } : {};
      await shard.prepare(step, { weight: 1n << 24n, maxima: announced, ...carried });
      const before = shard.weights()[0]!;
      await shard.commit(step, { scale: 1, optimizers: [adam] });
      const most = (0.01 * (1 - 0.9)) / Math.sqrt(1 - 0.99);
      if (step < last) expect(shard.weights()[0]).toBe(before);
      else expect(Math.abs(shard.weights()[0]! - before) / most).toBeCloseTo(1, 3);
    }
  });

  it("are the same bits again when the steps are repeated from their records", async () => {
    const records: StepRecord[] = [];
    const copy = (record: StepRecord): void => {
      const { sums, announced: grid, maxima, scalars } = record;
      const own = { sums: sums.slice(), announced: grid.slice(), maxima: maxima.slice(), scalars: scalars.slice() };
      records.push({ ...record, ...own });
    };
    const first = shardOf({ append: copy });
    for (let step = 0; step < STEPS; step++) await doStep(first, step);
    const again = shardOf({ append: () => {} });
    for (const record of records) expect(again.replay(record)).toBe(true);
    for (const [name, values] of Object.entries(first.snapshot())) expect(again.snapshot()[name]).toEqual(values);
  });

  it("add nothing of a contribution of which one sum is beyond its lease's", () => {
    const shard = shardOf({ append: () => {} });
    shard.begin(announced);
    const multiples = new Int32Array(PARAMETERS);
    multiples.set([1, 1023]);
    const most = 2 ** (BITS + 8) / gridScale(BITS, EXPONENT) / 1023;
    expect(shard.decode([encodeSums(multiples, "sparse20", Math.fround(most * 1.01))], 1)).toBeNull();
    expect(shard.decode([encodeSums(multiples, "sparse20", Math.fround(most * 0.99))], 1)?.[0]).toBeGreaterThan(0);
  });
});
