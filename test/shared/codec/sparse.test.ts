import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeSparse, findSparseFault, SparseReader, sparseBytes } from "../../../shared/codec/index.ts";

const LARGEST = 2 ** 24;

/** Mostly zeros, in runs of very different lengths, with values of very different sizes. */
const values = fc
  .array(
    fc.tuple(
      fc.oneof(fc.nat(3), fc.nat(5000)),
      fc.oneof(fc.integer({ min: -2, max: 2 }), fc.integer({ min: -LARGEST, max: LARGEST })),
    ),
    { maxLength: 60 },
  )
  .map((runs) => Int32Array.from(runs.flatMap(([zeros, value]) => [...new Array<number>(zeros).fill(0), value])));

const countOf = (array: Int32Array): number => array.filter((value) => value !== 0).length;
const largestOf = (array: Int32Array): number => array.reduce((most, value) => Math.max(most, Math.abs(value)), 1);

describe("sparse integers", () => {
  it("come back as they were, have no fault and keep within their bound", () => {
    fc.assert(
      fc.property(values, fc.nat(200), (nonZero, zeros) => {
        const original = new Int32Array(nonZero.length + zeros);
        original.set(nonZero);
        const bytes = encodeSparse(original);
        const [count, largest] = [countOf(original), largestOf(original)];
        expect(findSparseFault(bytes, original.length, count, largest)).toBeNull();
        const { least, most } = sparseBytes(original.length, count, largest);
        expect(bytes.byteLength).toBeGreaterThanOrEqual(least);
        expect(bytes.byteLength).toBeLessThanOrEqual(most);
        const found = new Int32Array(original.length);
        const reader = new SparseReader(bytes, found.length);
        reader.every((index, value) => {
          found[index] = value;
          return true;
        });
        expect(reader.fault).toBeNull();
        expect(found).toEqual(original);
      }),
      { numRuns: 300 },
    );
  });

  it("take little more than their entropy", () => {
    let state = 1;
    const random = (): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    };
    for (const density of [0.01, 0.04, 0.1]) {
      const original = Int8Array.from({ length: 100_000 }, () => (random() < density ? (random() < 0.5 ? -1 : 1) : 0));
      const rest = 1 - density;
      const entropy = -density * Math.log2(density) - rest * Math.log2(rest) + density;
      // One bit a value says that its magnitude is 1.
      const bits = (encodeSparse(original).byteLength * 8) / original.length - density;
      expect(bits / entropy).toBeLessThan(1.05);
      expect(bits / entropy).toBeGreaterThan(0.97);
    }
  });

  it("lie lowest bits first", () => {
    // Gaps 2 and 0 and magnitudes 1 and 1: no shift, so 11 0, +, 0, then 0, −, 0.
    const bytes = encodeSparse(Int32Array.of(0, 0, 1, -1, 0));
    expect([...bytes]).toEqual([2, 0, 0, 0, 0, 0, 0, 0, 0b0100_0011, 0, 0, 0]);
  });

  it("have a fault where there are more values, or larger ones, than may be", () => {
    const bytes = encodeSparse(Int32Array.of(5, 0, -9));
    expect(findSparseFault(bytes, 3, 2, 9)).toBeNull();
    expect(findSparseFault(bytes, 3, 1, 9)).toContain("2 values differ from zero, at most 1 may");
    expect(findSparseFault(bytes, 3, 2, 8)).toContain("value 2 is -9, at most ±8");
    expect(findSparseFault(bytes, 2, 2, 9)).toContain("value 2 of 2");
  });

  it("have a fault where they are cut or longer than they say", () => {
    const bytes = encodeSparse(Int32Array.from({ length: 100 }, (_, at) => (at % 7 === 0 ? at - 50 : 0)));
    for (let length = 0; length < bytes.byteLength; length++) {
      expect(findSparseFault(bytes.slice(0, length), 100, 100, 100)).not.toBeNull();
    }
    const longer = new Uint8Array(bytes.byteLength + 4);
    longer.set(bytes);
    expect(findSparseFault(longer, 100, 100, 100)).toBe("more follows the last value");
  });

  it("are read or have a fault, whatever the bytes, and never lead out of the array", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 80 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 300 }),
        (noise, tame, length) => {
          if (tame && noise.length >= 8) noise.set([noise[0] % 20, 0, 0, 0, noise[4] % 8, noise[5] % 8, 0, 0]);
          const reader = new SparseReader(noise.slice(), length);
          let before = -1;
          reader.every((index) => {
            expect(index).toBeGreaterThan(before);
            expect(index).toBeLessThan(length);
            before = index;
            return true;
          });
        },
      ),
      { numRuns: 2000 },
    );
  });
});
