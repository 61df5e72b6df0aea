import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Delivery, LEAST_PART_BYTES, Upload } from "../../coordinator/session/upload.ts";
import { decodeFrame, encodeFrame, type Frame } from "../../shared/protocol/frames.ts";

const header = {
  kind: "gradient",
  codec: "fixed32",
  version: 2,
  step: 0,
  lease: 7,
  clamped: 0,
  loss: 0n,
  weight: 1n,
} as const;

const bodyOf = (bytes: number): Uint8Array => Uint8Array.from({ length: bytes }, (_, at) => at * 7);

/** The frames of a body that is cut at these places. */
function framesOf(body: Uint8Array, cuts: readonly number[]): Frame[] {
  const places = [0, ...cuts, body.byteLength];
  return places.slice(1).map((end, index) => {
    const offset = places[index];
    const part = body.subarray(offset, end);
    return decodeFrame(encodeFrame({ ...header, offset, total: body.byteLength }, part).buffer);
  });
}

function deliver(frames: readonly Frame[]): Delivery | null {
  const upload = new Upload(frames[0]);
  return frames.map((frame) => upload.add(frame)).at(-1) ?? null;
}

describe("a contribution of several frames", () => {
  const LEAST = LEAST_PART_BYTES;

  it("is whole with its last frame, and no byte of it was copied", () => {
    const body = bodyOf(2 * LEAST + 10);
    const frames = framesOf(body, [LEAST, 2 * LEAST]);
    const upload = new Upload(frames[0]);
    expect([upload.add(frames[0]), upload.add(frames[1])]).toEqual([null, null]);
    const parts = upload.add(frames[2])?.after(0) ?? [];
    expect(parts.map(({ buffer }) => buffer)).toEqual(frames.map(({ payload }) => payload.buffer));
    expect(Buffer.concat(parts)).toEqual(Buffer.from(body));
  });

  it("is refused where a frame is missing, or another contribution's comes between", () => {
    const frames = framesOf(bodyOf(3 * LEAST), [LEAST, 2 * LEAST]);
    const upload = new Upload(frames[0]);
    upload.add(frames[0]);
    expect(() => upload.add(frames[2])).toThrow(/frame at 131072, expected the one at 65536/);
    expect(() => upload.add({ ...frames[1], lease: 8 })).toThrow(/has lease 8, the contribution began with 7/);
  });

  it("is refused where it comes in crumbs, each of which would cost more than it carries", () => {
    const frames = framesOf(bodyOf(2 * LEAST), [LEAST - 1]);
    expect(() => deliver(frames)).toThrow(/a frame of 65535 bytes that is not the last, expected 65536 or more/);
    expect(() => deliver(framesOf(bodyOf(LEAST), [0]))).toThrow(/a frame of 0 bytes/);
  });
});

describe("a delivery", () => {
  it("has the same head and the same rest wherever it was cut", () => {
    const place = fc.integer({ min: 0, max: 100 });
    fc.assert(
      fc.property(fc.array(place, { maxLength: 4 }), place, (cuts, bytes) => {
        const body = bodyOf(100);
        const places = [0, ...cuts.sort((a, b) => a - b), 100];
        const delivery = new Delivery(places.slice(1).map((end, index) => body.subarray(places[index], end)));
        expect(Buffer.from(delivery.head(bytes))).toEqual(Buffer.from(body.subarray(0, bytes)));
        expect(Buffer.concat(delivery.after(bytes))).toEqual(Buffer.from(body.subarray(bytes)));
      }),
    );
  });
});
