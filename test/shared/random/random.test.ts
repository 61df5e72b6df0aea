import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  deriveKey,
  dropoutScale,
  epochKey,
  fillDropoutMask,
  Permutation,
  permuteIndex,
  sampleIndex,
  threefry2x32,
} from "../../../shared/random/index.ts";

describe("Threefry-2x32", () => {
  // Known answers of the Random123 library, 20 rounds.
  it.each([
    [
      [0, 0],
      [0, 0],
      [0x6b200159, 0x99ba4efe],
    ],
    [
      [0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x1cb996fc, 0xbb002be7],
    ],
    [
      [0x13198a2e, 0x03707344],
      [0x243f6a88, 0x85a308d3],
      [0xc4923a9c, 0x483df7a0],
    ],
  ])("gives the published words for key %j and counter %j", (key, counter, expected) => {
    const out = new Uint32Array(2);
    threefry2x32(key[0], key[1], counter[0], counter[1], out);
    expect([...out]).toEqual(expected);
  });
});

describe("the shuffle of an epoch", () => {
  it("is a bijection for any size", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 600 }), fc.nat(1000), (size, seed) => {
        const seen = new Set(Array.from({ length: size }, (_, at) => sampleIndex(seed, 0, size, at)));
        expect(seen.size).toBe(size);
        expect(Math.max(...seen)).toBe(size - 1);
      }),
      { numRuns: 60 },
    );
    const key = epochKey(0, 0);
    expect(new Set(Array.from({ length: 60_000 }, (_, at) => permuteIndex(key, 60_000, at))).size).toBe(60_000);
  });

  it("is the same one where it is asked for many positions", () => {
    // Sizes on both sides of what a table is kept for.
    for (const size of [1, 2, 3, 255, 257, 60_000, 2 ** 24 - 1, 2 ** 24 + 1, 2 ** 32 + 5]) {
      const key = epochKey(7, size);
      const permutation = new Permutation(key, size);
      for (let at = 0; at < 200; at++) {
        const position = (at * 7_919) % size;
        expect(permutation.at(position), `${position} of ${size}`).toBe(permuteIndex(key, size, position));
      }
      expect(() => permutation.at(size)).toThrow(RangeError);
      expect(() => permutation.at(-1)).toThrow(RangeError);
    }
  });

  it("differs between epochs and seeds, and moves nearly everything", () => {
    const order = (seed: number, epoch: number): string =>
      Array.from({ length: 50 }, (_, at) => sampleIndex(seed, epoch, 50, at)).join();
    expect(new Set([order(0, 0), order(0, 1), order(1, 0)]).size).toBe(3);
    const still = Array.from({ length: 10_000 }, (_, at) => sampleIndex(3, 0, 10_000, at)).filter(
      (to, at) => to === at,
    );
    expect(still.length).toBeLessThan(20);
  });

  it("spreads neighbours evenly: the mean of each hundredth is near the middle", () => {
    for (let part = 0; part < 10; part++) {
      let sum = 0;
      for (let at = 0; at < 1000; at++) sum += sampleIndex(5, 2, 10_000, part * 1000 + at);
      expect(sum / 1000).toBeGreaterThan(4500);
      expect(sum / 1000).toBeLessThan(5500);
    }
  });

  it("refuses positions outside of it", () => {
    expect(() => sampleIndex(0, 0, 10, 10)).toThrow(RangeError);
    expect(() => sampleIndex(0, 0, 10, -1)).toThrow(RangeError);
  });
});

describe("dropout masks", () => {
  it("are the same for a sample whichever micro-batch it is computed in", () => {
    const whole = new Float32Array(8 * 13);
    fillDropoutMask(7, 3, 1, 0.4, 16, 8, 13, whole);
    for (let row = 0; row < 8; row++) {
      const alone = new Float32Array(13);
      fillDropoutMask(7, 3, 1, 0.4, 16 + row, 1, 13, alone);
      expect(alone).toEqual(whole.slice(row * 13, (row + 1) * 13));
    }
  });

  it("keep the share that they should, scaled so that the expectation stays", () => {
    for (const probability of [0, 0.1, 0.5, 0.9]) {
      const mask = new Float32Array(20_000);
      fillDropoutMask(1, 0, 0, probability, 0, 20, 1000, mask);
      const kept = mask.filter((value) => value !== 0);
      expect(kept.length / mask.length).toBeCloseTo(1 - probability, 1);
      expect(new Set(kept)).toEqual(new Set([dropoutScale(probability)]));
    }
  });

  it("differ by step, layer and seed", () => {
    const mask = (seed: number, step: number, layer: number): string => {
      const out = new Float32Array(64);
      fillDropoutMask(seed, step, layer, 0.5, 0, 1, 64, out);
      return out.join();
    };
    expect(new Set([mask(0, 0, 0), mask(0, 0, 1), mask(0, 1, 0), mask(1, 0, 0)]).size).toBe(4);
  });
});

it("keys of different purposes never coincide", () => {
  const keys = (["initialization", "permutation", "dropout", "augmentation", "generation"] as const).map((domain) =>
    deriveKey(5, domain, 1, 2).join(),
  );
  expect(new Set(keys).size).toBe(keys.length);
});
