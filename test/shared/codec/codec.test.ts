import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  accumulateFixed,
  advanceEnvelope,
  announce,
  blockCount,
  CODECS,
  codecNames,
  createEnvelope,
  encodeSums,
  firstNonFinite,
  gridScale,
  isExact,
  magnitudeBits,
  measureExponents,
  roundScalar,
  scalarLimit,
} from "../../../shared/codec/index.ts";

const float = fc.float({ noNaN: true, noDefaultInfinity: true, min: -100, max: 100 });
const gradients = fc.array(fc.array(float, { minLength: 300, maxLength: 300 }), { minLength: 1, maxLength: 8 });

/** Sum of the gradients on a grid, in the given order. */
function sumOf(all: readonly (readonly number[])[], announced: Uint8Array, bits: number) {
  const sums = new Int32Array(300);
  const maxima = new Uint8Array(blockCount(300));
  let clamped = 0;
  for (const gradient of all) clamped += accumulateFixed(Float32Array.from(gradient), announced, bits, sums, maxima);
  return { sums, maxima, clamped };
}

function gridOf(all: readonly (readonly number[])[]): Uint8Array {
  const maxima = new Uint8Array(blockCount(300));
  for (const gradient of all) measureExponents(Float32Array.from(gradient), maxima);
  return announce(createEnvelope(maxima));
}

describe("fixed-point sums (I1)", () => {
  it("are the same for any order and any cut into shards", () => {
    fc.assert(
      fc.property(gradients, fc.nat(8), (all, cut) => {
        const announced = gridOf(all);
        const bits = magnitudeBits("fixed32", 8);
        const whole = sumOf(all, announced, bits);
        const [a, b] = [sumOf(all.slice(cut).reverse(), announced, bits), sumOf(all.slice(0, cut), announced, bits)];
        expect(a.sums.map((sum, at) => sum + b.sums[at])).toEqual(whole.sums);
        expect(a.maxima.map((value, at) => Math.max(value, b.maxima[at]))).toEqual(whole.maxima);
        expect(a.clamped + b.clamped).toBe(whole.clamped);
      }),
      { numRuns: 100 },
    );
  });

  it("differ from the true sum by at most half a grid step for each micro-batch", () => {
    fc.assert(
      fc.property(gradients, (all) => {
        const announced = gridOf(all);
        const bits = magnitudeBits("fixed32", 8);
        const { sums, clamped } = sumOf(all, announced, bits);
        expect(clamped).toBe(0);
        for (let at = 0; at < 300; at++) {
          const scale = gridScale(bits, announced[Math.floor(at / 256)]);
          const exact = all.reduce((sum, gradient) => sum + Math.fround(gradient[at]), 0);
          expect(Math.abs(sums[at] / scale - exact)).toBeLessThanOrEqual((0.5 * all.length) / scale + 1e-12);
        }
      }),
      { numRuns: 50 },
    );
  });

  it("round ties to even", () => {
    const bits = 10;
    const announced = Uint8Array.of(126 + bits); // a grid of whole numbers
    const values = Float32Array.of(0.5, 1.5, 2.5, -0.5, -1.5, 3.49, -3.51);
    const sums = new Int32Array(values.length);
    accumulateFixed(values, announced, bits, sums, new Uint8Array(1));
    expect([...sums]).toEqual([0, 2, 2, 0, -2, 3, -4]);
  });

  it("clamp what is off the grid, count it, and cannot overflow whatever comes", () => {
    for (const codec of codecNames.filter(isExact)) {
      for (const microBatches of [1, 2, 3, 16, 100, 1024]) {
        const bits = magnitudeBits(codec, microBatches);
        const sums = new Int32Array(4);
        let clamped = 0;
        for (let index = 0; index < microBatches; index++) {
          const extremes = Float32Array.of(3e38, -3e38, 1, 0);
          clamped += accumulateFixed(extremes, Uint8Array.of(127), bits, sums, new Uint8Array(1));
        }
        expect(clamped).toBe(2 * microBatches);
        expect(sums[0]).toBe(microBatches * (2 ** bits - 1));
        expect(encodeSums(sums, codec).byteLength).toBeLessThanOrEqual(CODECS[codec].bytes(4, microBatches).most);
        const encoded = encodeSums(sums, codec);
        expect(CODECS[codec].fault(encoded, encoded.byteLength, 4, microBatches)).toBeNull();
        expect(sums[0]).toBeLessThan(2 ** (codec === "fixed16" ? 15 : 31));
        expect(sums[1]).toBe(-sums[0]);
      }
    }
  });

  it("add nothing for values that are not finite, and say so by an exponent of their own", () => {
    const values = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1);
    const sums = new Int32Array(4);
    const maxima = new Uint8Array(1);
    expect(accumulateFixed(values, Uint8Array.of(130), 20, sums, maxima)).toBe(0);
    expect([...sums.slice(0, 3)]).toEqual([0, 0, 0]);
    expect(sums[3]).toBeGreaterThan(0);
    expect(firstNonFinite(maxima)).toBe(0);
  });

  it("travel as little-endian integers of their codec's width", () => {
    const sums = Int32Array.of(1, -2, 32767, -32767);
    expect([...encodeSums(sums, "fixed16")]).toEqual([1, 0, 254, 255, 255, 127, 1, 128]);
    expect(encodeSums(sums, "fixed32").byteLength).toBe(16);
  });
});

describe("the grid of the next step", () => {
  it("has 2 bits of headroom above what was seen", () => {
    expect([...announce(createEnvelope(Uint8Array.of(120, 100)))]).toEqual([122, 102]);
  });

  it("expects ordinary gradients where none was seen yet, so that the first ones are not clamped away", () => {
    const announced = announce(createEnvelope(Uint8Array.of(0, 0)));
    expect([...announced]).toEqual([129, 129]);
    const gradient = new Float32Array(512).fill(1.5);
    const sums = new Int32Array(512);
    expect(accumulateFixed(gradient, announced, 24, sums, new Uint8Array(2))).toBe(0);
    expect(sums[0] * 2 ** -(24 - 3)).toBe(1.5);
  });

  it("gives blocks never seen different from zero the coarsest grid", () => {
    expect([...announce(createEnvelope(Uint8Array.of(0, 120)))]).toEqual([122, 122]);
  });

  it("coarsens by at most 3 bits a step, whatever one client claims", () => {
    expect([...advanceEnvelope(Uint8Array.of(100), Uint8Array.of(254), 1)]).toEqual([103]);
  });

  it("decays by one bit every 8 steps", () => {
    let envelope: Uint8Array = Uint8Array.of(100);
    for (let step = 1; step <= 24; step++) envelope = advanceEnvelope(envelope, Uint8Array.of(80), step);
    expect([...envelope]).toEqual([97]);
  });

  it("stays within ordinary floats", () => {
    expect([...announce(Uint8Array.of(1, 254))]).toEqual([40, 250]);
  });
});

it("scalars are rounded to units of 2⁻²⁴, ties to even, and bounded where they are not finite", () => {
  const limit = scalarLimit(1);
  expect(roundScalar(1, limit)).toBe(2n ** 24n);
  expect(roundScalar(1.5 * 2 ** -24, limit)).toBe(2n);
  expect(roundScalar(2.5 * 2 ** -24, limit)).toBe(2n);
  expect(roundScalar(Number.NaN, limit)).toBe(2n ** 62n);
  expect(roundScalar(Number.NEGATIVE_INFINITY, limit)).toBe(-(2n ** 62n));
});

it("scalars of a whole step or split fit in 64 bits, however badly it went, and add up alike however they are shared out", () => {
  const values = [Number.NaN, Number.POSITIVE_INFINITY, 3e38, -3e38, 2 ** 37, 1, -0.5];
  for (const microBatches of [1, 2, 3, 64, 1024, 100_000]) {
    const limit = scalarLimit(microBatches);
    for (const value of values) {
      const sum = roundScalar(value, limit) * BigInt(microBatches);
      expect(BigInt.asIntN(64, sum)).toBe(sum);
      expect(sum > 0n).toBe(!(value < 0));
    }
  }
});
