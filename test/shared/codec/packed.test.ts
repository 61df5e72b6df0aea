import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CODECS, findPackingFault, GROUP, MOST_BITS, pack, packedBytes, unpack } from "../../../shared/codec/index.ts";

const widest = 2 ** (MOST_BITS - 1);

/** Runs of values of one width each, so that groups differ. */
const values = fc
  .array(
    fc
      .integer({ min: 0, max: MOST_BITS - 1 })
      .chain((bits) =>
        fc.array(fc.integer({ min: -(2 ** bits), max: 2 ** bits - 1 }), { minLength: 4, maxLength: 100 }),
      ),
    { minLength: 1, maxLength: 6 },
  )
  .map((runs) => Int32Array.from(runs.flat()));

describe("packed integers", () => {
  it("come back as they were, and have no fault", () => {
    fc.assert(
      fc.property(values, (original) => {
        const bytes = pack(original);
        expect(findPackingFault(bytes, bytes.byteLength, original.length, MOST_BITS)).toBeNull();
        const found = new Int32Array(original.length).fill(7);
        unpack(bytes, found);
        expect(found).toEqual(original);
      }),
      { numRuns: 300 },
    );
  });

  it("take the least width of each group of 64, and nothing but that width where all are zero", () => {
    const original = new Int32Array(3 * GROUP);
    original[GROUP] = -1;
    original[2 * GROUP] = 4;
    original[2 * GROUP + 1] = -4;
    const bytes = pack(original);
    expect([...bytes.subarray(0, 3)]).toEqual([0, 1, 4]);
    expect(bytes.byteLength).toBe(16 + (1 + 4) * 8);
  });

  it("lie lowest bits first", () => {
    const original = Int32Array.of(1, -2, 3, 0); // 3 bits each: 001 110 011 000
    expect([...pack(original).subarray(16)]).toEqual([0b11_110_001, 0b0, 0, 0]);
  });

  it("never take more than their bound, which they take where every group is as wide as it may be", () => {
    for (const count of [4, 60, 64, 68, 1028, 235_148]) {
      for (const microBatches of [1, 2, 3, 8, 1024]) {
        const { least, most } = CODECS.packed8.bytes(count, microBatches);
        const limit = microBatches * 127;
        expect(pack(new Int32Array(count)).byteLength).toBe(least);
        expect(pack(new Int32Array(count).fill(limit)).byteLength).toBeLessThanOrEqual(most);
        expect(most).toBe(packedBytes(count, 8 + Math.ceil(Math.log2(microBatches))));
      }
    }
  });

  it("are refused where they need more bits than are unpacked", () => {
    expect(() => pack(Int32Array.of(widest))).toThrow("needs 26 bits");
    expect(pack(Int32Array.of(-widest)).byteLength).toBeGreaterThan(0);
  });

  it("have a fault where a width is too large, or the bytes are not what the widths ask for; never anything else", () => {
    const original = Int32Array.from({ length: 200 }, (_, at) => at - 100);
    const bytes = pack(original);
    expect(findPackingFault(bytes, bytes.byteLength, 200, 7)).toContain("8 bits wide, at most 7");
    expect(findPackingFault(bytes, bytes.byteLength - 4, 200, 8)).toContain("the widths ask for");
    expect(findPackingFault(bytes.subarray(0, 8), 8, 200, 8)).toContain("the widths alone are 16");
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 80 }), (any) => {
        const aligned = any.slice();
        if (findPackingFault(aligned, aligned.byteLength, 128, MOST_BITS) !== null) return;
        unpack(aligned, new Int32Array(128));
      }),
    );
  });
});
