import { describe, expect, it } from "vitest";
import {
  agree,
  difference,
  type Evidence,
  evidenceOf,
  type Grid,
  gradientDistance,
  type Testimony,
  TOLERANCES,
  verdictOf,
} from "../../../coordinator/audit/index.ts";
import { blockCount, encodeSums, type GradientCodec, gridScale, magnitudeBits } from "../../../shared/codec/index.ts";
import type { Key } from "../../../shared/random/index.ts";
import { Chance } from "../round/timeline.ts";

const PARAMETERS = 5_000;
const KEY: Key = [1, 2];

const gridOf = (codec: GradientCodec, exponent = 120): Grid => ({
  codec,
  parameters: PARAMETERS,
  announced: new Uint8Array(blockCount(PARAMETERS)).fill(exponent),
  bits: magnitudeBits(codec, 4),
});

const someSums = (seed = 1, limit = 60): Int32Array => {
  const chance = new Chance(seed);
  return Int32Array.from({ length: PARAMETERS }, () => chance.integer(-limit, limit));
};

const testimony = (sums: Int32Array, codec: GradientCodec = "fixed32", rest: Partial<Testimony> = {}): Testimony => ({
  sums: [encodeSums(sums, codec).slice()],
  loss: 900n << 24n,
  weight: 640n << 24n,
  metrics: [300n << 24n],
  maxima: new Uint8Array(blockCount(PARAMETERS)).fill(118),
  clamped: 0,
  microBatches: 4,
  samples: 640,
  ...rest,
});

const evidence = (sums: Int32Array, isReproducible = true, rest: Partial<Testimony> = {}): Evidence =>
  evidenceOf(KEY, testimony(sums, "fixed32", rest), gridOf("fixed32"), isReproducible);

const changed = (sums: Int32Array, at: number, by: number): Int32Array =>
  sums.map((value, index) => (index === at ? value + by : value));

describe("evidence of a result", () => {
  it("is the same for the same sums, however they were cut into pieces", () => {
    const whole = testimony(someSums());
    const [bytes] = whole.sums;
    const cut = [bytes!.subarray(0, 1_001), bytes!.subarray(1_001, 1_003), bytes!.subarray(1_003)];
    const [a, b] = [whole, { ...whole, sums: cut }].map((each) => evidenceOf(KEY, each, gridOf("fixed32"), true));
    expect(difference(a!, b!)).toBe(0);
  });

  it("reads every exact codec: the same integers have the same fingerprint", () => {
    const sums = someSums();
    const [first, ...others] = (["fixed32", "fixed16", "packed8", "packed12"] as const).map((codec) =>
      evidenceOf(KEY, testimony(sums, codec), gridOf(codec), true),
    );
    for (const other of others) expect(other.fingerprint).toEqual(first!.fingerprint);
  });

  it("says how long a gradient is, and how far two are apart, as well as 256 buckets can tell", () => {
    const { bits, announced } = gridOf("fixed32");
    const unit = 1 / gridScale(bits, announced[0]!);
    const lengthOf = (sums: Int32Array): number => unit * Math.hypot(...sums);
    const honest = someSums();
    for (const seed of [2, 3, 4, 5, 6, 7]) {
      const noise = someSums(seed, 20);
      const other = honest.map((value, at) => value + noise[at]!);
      const [a, b] = [evidence(honest, false), evidence(other, false)];
      expect(a.norm / lengthOf(honest)).toBeCloseTo(1, 9);
      const apart = lengthOf(noise) / Math.max(lengthOf(honest), lengthOf(other));
      expect(Math.abs(gradientDistance(a, b) / apart - 1)).toBeLessThan(0.25);
    }
  });

  it("does not tell what it is made under: another key, another fingerprint and other buckets", () => {
    const other = evidenceOf([3, 4], testimony(someSums()), gridOf("fixed32"), true);
    expect(other.fingerprint).not.toEqual(evidence(someSums()).fingerprint);
    expect(other.norm).toBe(evidence(someSums()).norm);
  });

  it("keeps nothing of the frame it came in", () => {
    const frame = new Uint8Array(1_000_000);
    const { maxima } = evidence(someSums(), true, { maxima: frame.subarray(0, blockCount(PARAMETERS)) });
    expect(maxima?.buffer.byteLength).toBe(blockCount(PARAMETERS));
  });

  it("cannot be had of the largest sums, which depend on what was left out before", () => {
    const sparse = { ...testimony(new Int32Array(0)), sums: [encodeSums(someSums(), "sparse10")] };
    expect(() => evidenceOf(KEY, sparse, gridOf("sparse10"), true)).toThrow(/left out/);
  });
});

describe("two results", () => {
  it("agree on WASM if all their bits are the same, and not if any is another", () => {
    const honest = someSums();
    expect(difference(evidence(honest), evidence(honest))).toBe(0);
    for (const [at, by] of [
      [0, 1],
      [PARAMETERS - 1, -1],
      [1_234, 2 ** 30],
    ] as const) {
      expect(difference(evidence(honest), evidence(changed(honest, at, by)))).toBe(Number.POSITIVE_INFINITY);
    }
    for (const other of [
      { loss: (900n << 24n) + 1n },
      { weight: (640n << 24n) - 1n },
      { metrics: [(300n << 24n) + 1n] },
      { clamped: 1 },
      { maxima: new Uint8Array(blockCount(PARAMETERS)).fill(119) },
    ]) {
      expect(agree(evidence(honest), evidence(honest, true, other)), Object.keys(other)[0]).toBe(false);
    }
  });

  it("agree with a GPU's if they differ in the last bits, or by a gate", () => {
    const honest = someSums(1, 1_000_000);
    const rounded = honest.map((value, at) => value + (at % 3) - 1);
    expect(difference(evidence(honest), evidence(rounded, false))).toBeLessThan(0.01);
    const gate = honest.map((value, at) => (at < 4 ? value + 500_000 : value));
    expect(agree(evidence(honest), evidence(gate, false))).toBe(true);
  });

  const CHEATS: Record<string, (sums: Int32Array) => Int32Array> = {
    zeros: (sums) => sums.map(() => 0),
    "1.1 times": (sums) => sums.map((value) => Math.round(value * 1.1)),
    "another step's": () => someSums(99, 1_000_000),
    "half of it": (sums) => sums.map((value, at) => (at % 2 === 0 ? value : 0)),
    "the other way": (sums) => sums.map((value) => -value),
  };
  for (const [name, cheat] of Object.entries(CHEATS)) {
    it(`do not agree where one of them is ${name}, whoever computed it`, () => {
      const honest = someSums(1, 1_000_000);
      expect(difference(evidence(honest), evidence(cheat(honest), false))).toBeGreaterThan(1.5);
    });
  }

  const LIES: Record<string, Partial<Testimony>> = {
    "the loss": { loss: 890n << 24n },
    "the weight": { weight: 600n << 24n },
    "a metric": { metrics: [320n << 24n] },
    "the exponents": { maxima: new Uint8Array(blockCount(PARAMETERS)).fill(130) },
  };
  for (const [name, lie] of Object.entries(LIES)) {
    it(`do not agree where ${name} is another`, () => {
      expect(difference(evidence(someSums()), evidence(someSums(), false, lie))).toBeGreaterThan(1);
    });
  }

  it("of evaluations have no gradient, and are compared by what else they have", () => {
    const held = (loss: bigint, isReproducible: boolean): Evidence => {
      const result = { ...testimony(new Int32Array(0)), sums: [], maxima: null, loss };
      return evidenceOf(KEY, result, null, isReproducible);
    };
    expect(difference(held(900n << 24n, true), held(900n << 24n, true))).toBe(0);
    expect(agree(held(900n << 24n, true), held((900n << 24n) + 40n, false))).toBe(true);
    expect(agree(held(900n << 24n, true), held(895n << 24n, false))).toBe(false);
    expect(TOLERANCES.loss).toBeLessThan(5 / 900);
  });
});

describe("a verdict", () => {
  const right = evidence(someSums());
  const wrong = evidence(someSums(2));
  const other = evidence(someSums(3));
  const witness = (client: string, found: Evidence, isReferee = false) => ({ client, evidence: found, isReferee });

  it("is that of two who agree, and waits for a third where they do not", () => {
    expect(verdictOf([witness("a", right), witness("b", right)])).toEqual({ right: ["a", "b"], wrong: [] });
    expect(verdictOf([witness("a", right), witness("b", wrong)])).toBeNull();
    expect(verdictOf([witness("a", wrong), witness("b", right), witness("c", right)])).toEqual({
      right: ["b", "c"],
      wrong: [{ client: "a", difference: Number.POSITIVE_INFINITY }],
    });
    expect(verdictOf([witness("a", wrong), witness("b", right), witness("c", other)])).toBeNull();
  });

  it("is the referee's against any number", () => {
    const found = verdictOf([witness("a", wrong), witness("b", wrong), witness("c", right, true)]);
    expect(found?.right).toEqual(["c"]);
    expect(found?.wrong.map(({ client }) => client)).toEqual(["a", "b"]);
  });
});
