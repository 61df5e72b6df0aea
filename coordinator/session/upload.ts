/**
 * One client's contribution on its way in. Nothing of it reaches a sum before it is whole; until then its frames stay as
 * the socket delivered them, and nothing is copied before the optimizer's memory is.
 */

import type { Frame, FrameHeader } from "../../shared/protocol/frames.ts";
import { ProtocolError } from "../../shared/protocol/messages.ts";

/**
 * Least bytes of a frame that others follow: each one that is kept costs something besides its payload, which must stay little
 * beside it.
 */
export const LEAST_PART_BYTES = 65_536;

/** The payloads of a whole contribution, in order. */
export class Delivery {
  readonly #parts: readonly Uint8Array[];

  constructor(parts: readonly Uint8Array[]) {
    this.#parts = parts;
  }

  /** The first `bytes` bytes: a view if one frame has them all, which is how clients cut. */
  head(bytes: number): Uint8Array {
    const [first] = this.#parts;
    if (first !== undefined && first.byteLength >= bytes) return first.subarray(0, bytes);
    const joined = new Uint8Array(bytes);
    let end = 0;
    for (const part of this.#parts) {
      const wanted = part.subarray(0, bytes - end);
      joined.set(wanted, end);
      end += wanted.byteLength;
    }
    return joined;
  }

  /** Views of what follows the first `bytes` bytes. */
  after(bytes: number): Uint8Array[] {
    const rest: Uint8Array[] = [];
    let skipped = 0;
    for (const part of this.#parts) {
      const skip = Math.min(part.byteLength, bytes - skipped);
      skipped += skip;
      if (skip < part.byteLength) rest.push(part.subarray(skip));
    }
    return rest;
  }
}

/** Fields that every frame of one contribution repeats. */
const REPEATED = ["kind", "codec", "version", "step", "lease", "clamped", "loss", "weight", "total"] as const;

export class Upload {
  readonly header: FrameHeader;
  readonly #parts: Uint8Array[] = [];
  #received = 0;

  constructor(first: Frame) {
    const { payload: _, ...header } = first;
    this.header = header;
  }

  /** Adds the next frame; returns the contribution once it is whole. Throws ProtocolError `bad-frame`. */
  add(frame: Frame): Delivery | null {
    for (const field of REPEATED) {
      if (frame[field] !== this.header[field]) {
        throw new ProtocolError(
          "bad-frame",
          `frame at ${frame.offset} has ${field} ${frame[field]}, the contribution began with ${this.header[field]}`,
        );
      }
    }
    if (frame.offset !== this.#received) {
      throw new ProtocolError("bad-frame", `frame at ${frame.offset}, expected the one at ${this.#received}`);
    }
    const { byteLength } = frame.payload;
    this.#received += byteLength;
    const isLast = this.#received === frame.total;
    if (!isLast && byteLength < LEAST_PART_BYTES) {
      throw new ProtocolError(
        "bad-frame",
        `a frame of ${byteLength} bytes that is not the last, expected ${LEAST_PART_BYTES} or more`,
      );
    }
    this.#parts.push(frame.payload);
    return isLast ? new Delivery(this.#parts) : null;
  }
}
