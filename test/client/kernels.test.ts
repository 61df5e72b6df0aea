/** A client's kernels against shared/codec: the same bytes and bits, and nothing where that finds something wrong. */

import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { changeWeights, packSums } from "../../client/core/kernels.ts";
import { encodeSparse, GROUP, pack, SparseReader } from "../../shared/codec/index.ts";

/** Of more than one part of the kernels' memory, the last one short. */
const MANY = 40_004;

const sums = fc
  .array(
    fc
      .integer({ min: 0, max: 15 })
      .chain((bits) =>
        fc.array(fc.integer({ min: -(2 ** bits), max: 2 ** bits - 1 }), { minLength: 1, maxLength: 90 }),
      ),
    { minLength: 1, maxLength: 8 },
  )
  .map((runs) => Int32Array.from(runs.flat()))
  .map((values) => values.subarray(0, values.length - (values.length % 4)));

describe("packing sums", () => {
  it("gives the bytes of its definition", () => {
    fc.assert(
      fc.property(sums, (values) => {
        expect(packSums(values)).toEqual(pack(values));
      }),
      { numRuns: 300 },
    );
  });

  it("gives them for more than it has in memory at a time", () => {
    const values = Int32Array.from({ length: MANY }, (_, at) => ((at * 2_654_435_761) % 4096) - (at % 3) * 1000);
    expect(packSums(values)).toEqual(pack(values));
    values[MANY - 1] = 2 ** 15;
    expect(packSums(values)).toBeNull();
    values[MANY - 1] = -(2 ** 15);
    expect(packSums(values)).toEqual(pack(values));
  });

  it("leaves what it cannot pack", () => {
    expect(packSums(Int32Array.of(2 ** 15, 0, 0, 0))).toBeNull();
    expect(packSums(new Int32Array(GROUP + 1))).toBeNull();
  });
});

/** By the definition; null where something is wrong. */
function changed(message: Uint8Array, unit: number, before: Float32Array): Float32Array | null {
  const after = before.slice();
  const reader = new SparseReader(message, before.length);
  reader.every((index, value) => {
    after[index] += value * unit;
    return true;
  });
  return reader.fault === null ? after : null;
}

function byKernel(message: Uint8Array, unit: number, before: Float32Array): Float32Array | null {
  const after = new Float32Array(before.length).fill(Number.NaN);
  return changeWeights(message, unit, before, after) ? after : null;
}

const weights = (length: number): Float32Array =>
  Float32Array.from({ length }, (_, at) => Math.sin(at * 12.9898) * 10 ** ((at % 7) - 5));

/** Few or many values that differ from zero, of few or many units, and long runs of zeros. */
const changes = fc
  .record({
    length: fc.integer({ min: 1, max: 900 }),
    every: fc.integer({ min: 1, max: 400 }),
    largest: fc.constantFrom(1, 2, 9, 127, 100_000),
    seed: fc.integer(),
  })
  .map(({ length, every, largest, seed }) => {
    const draw = (at: number): number => Math.imul(at ^ seed, 0x9e3779b1) >>> 0;
    return Int32Array.from({ length }, (_, at) =>
      draw(at) % every === 0 ? ((draw(at + 1_000_003) % (2 * largest)) - largest) | 0 : 0,
    );
  });

const unit = fc.integer({ min: -30, max: 4 }).map((exponent) => 2 ** exponent);

describe("changing weights", () => {
  it("gives the bits of its definition", () => {
    fc.assert(
      fc.property(changes, unit, (values, of) => {
        const message = encodeSparse(values).slice();
        const before = weights(values.length);
        expect(byKernel(message, of, before)).toEqual(changed(message, of, before));
      }),
      { numRuns: 500 },
    );
  });

  it("gives them where a gap is coded in more ones than are loaded at a time", () => {
    const values = new Int32Array(MANY);
    for (let at = 0; at < 2_000; at++) values[at] = (at % 5) - 2;
    values[MANY - 1] = 127;
    const message = encodeSparse(values).slice();
    const before = weights(MANY);
    expect(byKernel(message, 2 ** -12, before)).toEqual(changed(message, 2 ** -12, before));
  });

  it("gives them in a longer memory, and in the shorter one's part of it", () => {
    const every = Int32Array.from({ length: 400_000 }, (_, at) => ((at * 7) % 255) - 127);
    for (const values of [every, every.slice(0, 1000), every]) {
      const message = encodeSparse(values).slice();
      const before = weights(values.length);
      expect(byKernel(message, 0.125, before)).toEqual(changed(message, 0.125, before));
    }
  });

  it("leaves a message with something wrong, whatever it is", () => {
    let wrong = 0;
    fc.assert(
      fc.property(
        changes,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
        fc.nat(3),
        (values, writes, cut) => {
          const encoded = encodeSparse(values);
          const message = encoded.slice(0, Math.max(0, encoded.byteLength - 4 * cut));
          for (const [at, byte] of writes) if (message.byteLength > 0) message[at % message.byteLength] = byte;
          const before = weights(values.length);
          const expected = changed(message, 2 ** -8, before);
          if (expected === null) wrong += 1;
          expect(byKernel(message, 2 ** -8, before)).toEqual(expected);
        },
      ),
      { numRuns: 2000 },
    );
    expect(wrong).toBeGreaterThan(100);
  });

  it("leaves a message of any bytes unless it is one", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 96 }), fc.integer({ min: 1, max: 500 }), (bytes, length) => {
        const before = weights(length);
        expect(byKernel(bytes, 1, before)).toEqual(changed(bytes, 1, before));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("where a policy forbids to compile WebAssembly", () => {
  it("both leave everything to shared/codec", async () => {
    const { CompileError, Memory, Instance } = WebAssembly;
    class Module {
      constructor() {
        throw new CompileError("blocked by CSP");
      }
    }
    vi.resetModules();
    vi.stubGlobal("WebAssembly", { CompileError, Memory, Instance, Module });
    try {
      const blocked = await import("../../client/core/kernels.ts");
      expect(blocked.packSums(new Int32Array(GROUP))).toBeNull();
      const message = encodeSparse(Int8Array.of(1, 0, 0, 0)).slice();
      expect(blocked.changeWeights(message, 1, new Float32Array(4), new Float32Array(4))).toBe(false);
    } finally {
      vi.unstubAllGlobals();
    }
  });
});
