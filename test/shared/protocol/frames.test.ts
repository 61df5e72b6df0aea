import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  cutBody,
  decodeFrame,
  encodeFrame,
  FrameError,
  type FrameHeader,
  HEADER_BYTES,
  MAX_FRAME_BYTES,
  MAX_PAYLOAD_BYTES,
  upwardLayout,
  weightsLayout,
} from "../../../shared/protocol/frames.ts";

const header: FrameHeader = {
  kind: "gradient",
  codec: "fixed32",
  version: 7,
  step: 6,
  lease: 99,
  clamped: 3,
  loss: -5n,
  weight: 2n ** 40n,
  offset: 0,
  total: 8,
};

/** The code of the FrameError that `run` throws. */
function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof FrameError) return error.code;
    throw error;
  }
  return "no error";
}

/** A valid frame with one field of the header overwritten. */
function corrupt(change: (view: DataView) => void): ArrayBuffer {
  const bytes = encodeFrame(header, new Uint8Array(8));
  change(new DataView(bytes.buffer));
  return bytes.buffer;
}

describe("tensor frames", () => {
  it("come back as they were sent, field by field", () => {
    const frame = decodeFrame(encodeFrame(header, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)).buffer);
    expect(frame).toEqual({ ...header, payload: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) });
  });

  it("are refused by length before anything of them is read", () => {
    expect(codeOf(() => decodeFrame(new ArrayBuffer(HEADER_BYTES - 1)))).toBe("frame-size");
    expect(codeOf(() => decodeFrame(new ArrayBuffer(MAX_FRAME_BYTES + 1)))).toBe("frame-size");
  });

  it("are refused when truncated, foreign, of another protocol, of no known kind, or past their body", () => {
    const whole = encodeFrame(header, new Uint8Array(8));
    expect(codeOf(() => decodeFrame(whole.slice(0, -1).buffer))).toBe("frame-size");
    expect(codeOf(() => decodeFrame(corrupt((view) => view.setUint32(0, 1, true))))).toBe("frame-magic");
    expect(codeOf(() => decodeFrame(corrupt((view) => view.setUint16(4, 2, true))))).toBe("frame-version");
    expect(codeOf(() => decodeFrame(corrupt((view) => view.setUint8(6, 77))))).toBe("frame-kind");
    expect(codeOf(() => decodeFrame(corrupt((view) => view.setUint8(7, 77))))).toBe("frame-kind");
    expect(codeOf(() => decodeFrame(corrupt((view) => view.setUint32(40, 4, true))))).toBe("frame-range");
  });

  it("never do anything but decode or throw a FrameError, whatever the bytes", () => {
    const bytes = fc.uint8Array({ minLength: 0, maxLength: 200 });
    const nearlyValid = fc
      .tuple(fc.uint8Array({ maxLength: 64 }), fc.nat(HEADER_BYTES - 1), fc.nat(255))
      .map(([payload, at, value]) => {
        const frame = encodeFrame({ ...header, total: payload.byteLength }, payload);
        frame[at] = value;
        return frame;
      });
    fc.assert(
      fc.property(fc.oneof(bytes, nearlyValid), (candidate) => {
        try {
          const frame = decodeFrame(candidate.slice().buffer);
          expect(frame.offset + frame.payload.byteLength).toBeLessThanOrEqual(frame.total);
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("carry a large body in order, each frame at most 1 MiB, and an empty body as one frame", () => {
    const body = Uint8Array.from({ length: MAX_PAYLOAD_BYTES * 2 + 5 }, (_, index) => index % 251);
    const received = new Uint8Array(body.byteLength);
    let end = 0;
    for (const bytes of cutBody(header, body)) {
      expect(bytes.byteLength).toBeLessThanOrEqual(MAX_FRAME_BYTES);
      const frame = decodeFrame(bytes.buffer);
      expect(frame.offset).toBe(end);
      expect(frame.total).toBe(body.byteLength);
      received.set(frame.payload, frame.offset);
      end += frame.payload.byteLength;
    }
    expect(end).toBe(body.byteLength);
    expect(received).toEqual(body);
    expect([...cutBody(header, new Uint8Array(0))]).toHaveLength(1);
  });

  it("lay their sections out at multiples of 16 bytes", () => {
    const sizes = { metrics: 1, blocks: 919 };
    expect(upwardLayout("gradient", sizes)).toEqual({ metrics: 0, maxima: 16, squares: 944, sums: 944 });
    expect(upwardLayout("gradient", { ...sizes, squares: 9 }).sums).toBe(976);
    expect(upwardLayout("calibration", sizes).sums).toBe(944);
    expect(upwardLayout("evaluation", sizes).sums).toBe(16);
    expect(weightsLayout(919, 235_148)).toEqual({ exponents: 0, weights: 928, total: 928 + 235_148 * 4 });
  });
});
