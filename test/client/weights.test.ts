/** Weights that come in frames, whole or as changes: what is wrong with them ends the connection, never in wrong weights. */

import { describe, expect, it } from "vitest";
import { viewWeights, WeightsAssembler, type WeightsBody } from "../../client/core/weights.ts";
import { blockCount, encodeSparse } from "../../shared/codec/index.ts";
import { changeLayout, decodeFrame, encodeFrame, type Frame, weightsLayout } from "../../shared/protocol/frames.ts";

const PARAMETERS = 300;
const sizes = { blocks: blockCount(PARAMETERS), parameters: PARAMETERS };
const { total } = weightsLayout(sizes.blocks, PARAMETERS);

function held(version: number): WeightsBody {
  const body = viewWeights(sizes, version, version, new Uint8Array(total));
  body.weights.fill(1);
  return body;
}

interface Cut {
  readonly codec?: Frame["codec"];
  readonly version?: number;
  readonly offset?: number;
  readonly total?: number;
}

const frameOf = (payload: Uint8Array, cut: Cut = {}): Frame => {
  const { codec = "sparse", version = 5, offset = 0 } = cut;
  const header = { kind: "weights", codec, version, step: 4, lease: 0, clamped: 0, loss: 0n, weight: 0n } as const;
  return decodeFrame(encodeFrame({ ...header, offset, total: cut.total ?? payload.byteLength }, payload).buffer);
};

function change(unit: number, units: readonly (readonly [index: number, value: number])[]): Uint8Array<ArrayBuffer> {
  const values = new Int8Array(PARAMETERS);
  for (const [index, value] of units) values[index] = value;
  const layout = changeLayout(sizes.blocks);
  const encoded = encodeSparse(values);
  const bytes = new Uint8Array(layout.units + encoded.byteLength);
  bytes.fill(120, layout.exponents, sizes.blocks);
  new DataView(bytes.buffer).setFloat32(layout.unit, unit, true);
  bytes.set(encoded, layout.units);
  return bytes;
}

describe("changes of the weights", () => {
  it("change a copy of the latest ones", () => {
    const latest = held(4);
    const body = new WeightsAssembler(sizes).add(
      frameOf(
        change(0.25, [
          [0, 3],
          [299, -2],
        ]),
      ),
      latest,
    );
    expect(body?.version).toBe(5);
    expect([body?.weights[0], body?.weights[1], body?.weights[299]]).toEqual([1.75, 1, 0.5]);
    expect([...(body?.exponents ?? [])]).toEqual([120, 120]);
    expect(latest.weights[0]).toBe(1);
  });

  it("come in several frames, too", () => {
    const bytes = change(1, [[7, 1]]);
    const assembler = new WeightsAssembler(sizes);
    const cut = { total: bytes.byteLength };
    expect(assembler.add(frameOf(bytes.subarray(0, 16), cut), held(4))).toBeNull();
    const body = assembler.add(frameOf(bytes.subarray(16), { ...cut, offset: 16 }), held(4));
    expect(body?.weights[7]).toBe(2);
  });

  it("have nothing allocated for each of many that are announced and never sent", () => {
    const parameters = 3_000_000;
    const assembler = new WeightsAssembler({ blocks: blockCount(parameters), parameters });
    const before = process.memoryUsage().arrayBuffers;
    for (let count = 0; count < 200; count++) assembler.add(frameOf(new Uint8Array(1), { total: 3_000_000 }), null);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(50_000_000);
  });

  const WRONG: Readonly<Record<string, { frame: () => Frame; latest: WeightsBody | null; says: string }>> = {
    "of a version that is not here": {
      frame: () => frameOf(change(1, [])),
      latest: held(3),
      says: "version 3 is here",
    },
    "where there are no weights": { frame: () => frameOf(change(1, [])), latest: null, says: "there are none" },
    "shorter than their head": {
      frame: () => frameOf(new Uint8Array(20)),
      latest: held(4),
      says: "expected 32 or more",
    },
    "in units that are no number": {
      frame: () => frameOf(change(Number.NaN, [])),
      latest: held(4),
      says: "units of NaN",
    },
    "of too many parameters": {
      frame: () => {
        const bytes = change(1, [[1, 1]]);
        new DataView(bytes.buffer).setUint32(changeLayout(sizes.blocks).units, 301, true);
        return frameOf(bytes);
      },
      latest: held(4),
      says: "301 values differ",
    },
    "larger than any can be": {
      frame: () => frameOf(change(1, []), { total: 1 << 20 }),
      latest: held(4),
      says: "expected at most",
    },
    "that go on as something else": {
      frame: () => frameOf(new Uint8Array(16), { offset: 16, total: 64, codec: "sparse" }),
      latest: held(4),
      says: "weights frame at offset 16",
    },
  };
  for (const [name, { frame, latest, says }] of Object.entries(WRONG)) {
    it(`are refused: ${name}`, () => {
      expect(() => new WeightsAssembler(sizes).add(frame(), latest)).toThrow(says);
    });
  }
});
