/** Changes and logged sums are written by kernels: the bytes are those of the codec's own encoders. */

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createKernels } from "../../../coordinator/optim/index.ts";
import { encodeSparse, pack } from "../../../shared/codec/index.ts";

const module = new WebAssembly.Module(
  readFileSync(new URL("../../../coordinator/optim/kernels.wasm", import.meta.url)),
);

/** What the kernels write where clients' weights are zero and the weights these units. */
function encodeByKernels(units: Int8Array): Uint8Array | null {
  const kernels = createKernels(module, units.length, ["held"]);
  kernels.weights.set(units);
  expect(kernels.approach("held", 1)?.units).toEqual(units);
  return kernels.encodeUnits();
}

/** Runs of zeros with a value that differs between them. */
const runs = (zeros: number, largest: number) =>
  fc
    .array(fc.tuple(fc.nat(zeros), fc.integer({ min: -largest, max: largest })), { maxLength: 60 })
    .map((parts) => Int8Array.from(parts.flatMap(([gap, value]) => [...new Array<number>(gap).fill(0), value])));

const padded = (values: Int8Array, behind: number): Int8Array => {
  const units = new Int8Array(Math.ceil((values.length + behind + 4) / 4) * 4);
  units.set(values);
  return units;
};

describe("units written by the kernel", () => {
  for (const [name, zeros, largest] of [
    ["near each other", 3, 1],
    ["far from each other", 300, 3],
    ["of any size", 40, 127],
  ] as const) {
    it(`are the codec's own bytes: ${name}`, () => {
      fc.assert(
        fc.property(runs(zeros, largest), fc.nat(100), (values, behind) => {
          const units = padded(values, behind);
          const encoded = encodeByKernels(units);
          // Where little is there, a message may be longer than one byte for each.
          if (encoded === null) expect(encodeSparse(units).byteLength).toBeGreaterThan(units.length / 2 - 16);
          else expect(encoded).toEqual(encodeSparse(units));
        }),
        { numRuns: 300 },
      );
    });
  }

  it("have gaps and magnitudes of more than 32 bits in their codes", () => {
    const units = new Int8Array(400_000);
    // Many ones side by side, so that codes are short, and one far away: thousands of ones in a row.
    units.fill(1, 0, 3000);
    units[200_000] = -127;
    units[399_999] = 127;
    expect(encodeByKernels(units)).toEqual(encodeSparse(units));
  });

  it("are none where nothing changed", () => {
    const units = new Int8Array(1024);
    expect(encodeByKernels(units)).toEqual(encodeSparse(units));
  });

  it("are not written where they may take more than one byte a parameter", () => {
    const units = Int8Array.from({ length: 4096 }, (_, at) => (at % 2 === 0 ? 127 : -127));
    expect(encodeByKernels(units)).toBeNull();
  });
});

describe("sums packed by the kernel", () => {
  /** Sums of so many bits at most, other ones in each group of 64. */
  const sums = fc
    .array(fc.tuple(fc.nat(16), fc.integer({ min: 1, max: 16 })), { minLength: 1, maxLength: 12 })
    .map((groups) =>
      Int32Array.from(
        groups.flatMap(([bits, quads], group) =>
          Array.from({ length: group === groups.length - 1 ? quads * 4 : 64 }, (_, at) => {
            const word = Math.imul(at * 31 + group * 7 + bits, 2_654_435_761) | 0;
            return bits === 0 ? 0 : word >> (32 - bits);
          }),
        ),
      ),
    );

  it("are the codec's own bytes, whatever was there before", () => {
    fc.assert(
      fc.property(sums, (values) => {
        const kernels = createKernels(module, values.length, []);
        kernels.sums.fill(-1);
        kernels.packed();
        kernels.sums.set(values);
        expect(kernels.packed()).toEqual({ codec: "packed", sums: pack(values) });
      }),
      { numRuns: 500 },
    );
  });

  it("go as they are where one takes more than 16 bits", () => {
    for (const large of [32_768, -32_769]) {
      const values = new Int32Array(256);
      values[130] = large;
      const kernels = createKernels(module, values.length, []);
      kernels.sums.set(values);
      const { codec, sums: bytes } = kernels.packed();
      expect([codec, bytes.byteLength]).toEqual(["fixed32", 1024]);
      values[130] = Math.sign(large) * (Math.abs(large) - 1);
      kernels.sums.set(values);
      expect(kernels.packed()).toEqual({ codec: "packed", sums: pack(values) });
    }
  });
});

describe("sums added by the kernel", () => {
  const FRAMES = { fixed32: Int32Array, fixed16: Int16Array } as const;
  /** By frame: the integers that its bound is tried with. */
  const BOUNDS = { fixed32: [1, 32_768, 2 ** 31 - 1], fixed16: [1, 4_096, 32_767] } as const;
  const EXTREME = { fixed32: -(2 ** 31), fixed16: -32_768 } as const;
  const BEFORE = 7;

  /** What is in the sums after these were added, and whether they were within the bound. */
  function added(frame: keyof typeof FRAMES, values: Int32Array | Int16Array, bound: number) {
    const kernels = createKernels(module, values.length, []);
    kernels.sums.fill(BEFORE);
    const isWithin = kernels.add([new Uint8Array(values.buffer)], frame, bound);
    return { isWithin, sums: kernels.sums };
  }

  for (const frame of ["fixed32", "fixed16"] as const) {
    it(`are looked at one and all, ${frame}: of a sum beyond the bound nothing remains, wherever it is`, () => {
      // From a few vectors, of which the last are no whole turn of the loop.
      for (const count of [4, 12, 16, 28, 64, 76]) {
        for (let at = 0; at < count; at++) {
          for (const bound of BOUNDS[frame]) {
            for (const value of [bound, -bound, bound + 1, -bound - 1, EXTREME[frame]]) {
              const values = new FRAMES[frame](count);
              values[at] = value;
              const isWithin = Math.abs(values[at]) <= bound;
              const sums = new Int32Array(count).fill(BEFORE);
              if (isWithin) sums[at] = (BEFORE + values[at]) | 0;
              expect(added(frame, values, bound)).toEqual({ isWithin, sums });
            }
          }
        }
      }
    });
  }
});
