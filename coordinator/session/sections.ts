/**
 * Bodies made of sections that lie in different places, cut into frames without being put together first: the weights
 * stay where the optimizer keeps them, and at most one frame exists at a time.
 */

import {
  changeLayout,
  type FrameHeader,
  HEADER_BYTES,
  MAX_PAYLOAD_BYTES,
  weightsLayout,
  writeHeader,
} from "../../shared/protocol/frames.ts";
import type { EncodedChange } from "../optim/index.ts";

export interface Section {
  /** Offset in the body. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface Body {
  readonly sections: readonly Section[];
  readonly total: number;
}

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Announced exponents [blocks] and weights [parameters] as a weights body (shared/protocol/frames.ts). */
export function weightsBody(announced: Uint8Array, weights: Float32Array): Body {
  const layout = weightsLayout(announced.length, weights.length);
  return {
    sections: [
      { offset: layout.exponents, bytes: announced },
      { offset: layout.weights, bytes: bytesOf(weights) },
    ],
    total: layout.total,
  };
}

/** Announced exponents [blocks] and what changed since the version before, in whole units, as a weights body. */
export function changeBody(announced: Uint8Array, { unit, units }: EncodedChange): Body {
  const layout = changeLayout(announced.length);
  return {
    sections: [
      { offset: layout.exponents, bytes: announced },
      { offset: layout.unit, bytes: bytesOf(Float32Array.of(unit)) },
      { offset: layout.units, bytes: units },
    ],
    total: layout.units + units.byteLength,
  };
}

/** Copies the part of the body from `offset` on into `target`, which is zero where no section comes. */
export function copyBody(body: Body, offset: number, target: Uint8Array): void {
  const end = offset + target.byteLength;
  for (const section of body.sections) {
    const from = Math.max(offset, section.offset);
    const to = Math.min(end, section.offset + section.bytes.byteLength);
    if (from < to) target.set(section.bytes.subarray(from - section.offset, to - section.offset), from - offset);
  }
}

/** The body's frames, in order. */
export function* cutFrames(
  header: Omit<FrameHeader, "offset" | "total">,
  body: Body,
): Generator<Uint8Array<ArrayBuffer>> {
  for (let offset = 0; offset < body.total; offset += MAX_PAYLOAD_BYTES) {
    const bytes = Math.min(MAX_PAYLOAD_BYTES, body.total - offset);
    const frame = new Uint8Array(HEADER_BYTES + bytes);
    writeHeader(new DataView(frame.buffer), { ...header, offset, total: body.total }, bytes);
    copyBody(body, offset, frame.subarray(HEADER_BYTES));
    yield frame;
  }
}

/** Bytes of all of a body's frames. */
export const framedBytes = (total: number): number => total + HEADER_BYTES * Math.ceil(total / MAX_PAYLOAD_BYTES);
