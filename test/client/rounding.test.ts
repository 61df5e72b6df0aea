/** The SIMD kernels against the definition in shared/codec: the same bits for every float32, grid and number of bits. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Rounding } from "../../client/engine/onnx/rounding.ts";
import { allocateAlone, type Block } from "../../client/engine/onnx/runtime.ts";
import { accumulateFixed, blockCount, measureExponents } from "../../shared/codec/index.ts";

/** Float32 of any bits: ordinary ones, subnormal ones, infinities and NaN. */
const anyFloat = fc.oneof(
  fc.float({ noNaN: false }),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }).map((bits) => new Float32Array(Uint32Array.of(bits).buffer)[0]),
  // Ties and values on the edge of a grid.
  fc
    .tuple(fc.integer({ min: -(2 ** 23), max: 2 ** 23 }), fc.integer({ min: -40, max: 40 }))
    .map(([n, e]) => (n / 2) * 2 ** e),
);

const gradient = fc
  .integer({ min: 1, max: 150 })
  .chain((quads) => fc.array(anyFloat, { minLength: 4 * quads, maxLength: 4 * quads }))
  .map((values) => Float32Array.from(values));

/** As onnxruntime's memory is, and in its middle. */
function allocateShared(): Block {
  return {
    memory: new WebAssembly.Memory({ initial: 2, maximum: 65_536, shared: true }),
    address: 4096,
    free: () => {},
  };
}

describe.each([
  ["of its own", allocateAlone],
  ["that is shared", allocateShared],
])("rounding and adding in WebAssembly memory %s", (_, allocate) => {
  it("gives the sums, maxima and counts of the definition, micro-batch after micro-batch", () => {
    fc.assert(
      fc.property(
        gradient,
        fc.integer({ min: 1, max: 31 }),
        fc.integer({ min: 40, max: 250 }),
        fc.integer({ min: 40, max: 250 }),
        (values, bits, first, second) => {
          const blocks = blockCount(values.length);
          const announced = Uint8Array.from({ length: blocks }, (_, block) => (block % 2 === 0 ? first : second));
          const rounding = new Rounding(values.length, allocate);
          const [sums, maxima] = [new Int32Array(values.length), new Uint8Array(blocks)];
          let clamped = 0;
          rounding.begin(announced);
          // More bits leave room for one micro-batch only.
          for (const part of bits < 30 ? [values, values.map((value) => -value / 3)] : [values]) {
            rounding.gradient.set(part);
            rounding.accumulate(bits);
            clamped += accumulateFixed(part, announced, bits, sums, maxima);
          }
          expect(rounding.take("gradient")).toEqual({ sums, maxima, clamped });
        },
      ),
      { numRuns: 500 },
    );
  });

  it("measures the exponents of the definition", () => {
    fc.assert(
      fc.property(gradient, (values) => {
        const maxima = new Uint8Array(blockCount(values.length));
        measureExponents(values, maxima);
        const rounding = new Rounding(values.length, allocate);
        rounding.begin();
        rounding.gradient.set(values);
        rounding.measure();
        expect(rounding.take("calibrate")).toEqual({ sums: new Int32Array(0), maxima, clamped: 0 });
      }),
    );
  });

  it("begins each shard anew", () => {
    const rounding = new Rounding(4, allocate);
    for (let shard = 0; shard < 2; shard++) {
      rounding.begin(Uint8Array.of(127));
      rounding.gradient.set([1, 2, 3, 3e38]);
      rounding.accumulate(8);
      expect(rounding.take("gradient")).toEqual({
        sums: Int32Array.of(128, 255, 255, 255),
        maxima: Uint8Array.of(254),
        clamped: 3,
      });
    }
    const nothing = { sums: new Int32Array(4), maxima: new Uint8Array(1), clamped: 0 };
    rounding.begin(Uint8Array.of(127));
    expect(rounding.take("gradient")).toEqual(nothing);
    rounding.begin(Uint8Array.of(127));
    rounding.gradient.fill(0);
    rounding.accumulate(8);
    expect(rounding.take("gradient")).toEqual(nothing);
  });
});
