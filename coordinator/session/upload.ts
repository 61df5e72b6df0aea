/**
 * One client's contribution on its way in. Nothing of it reaches a sum before it is whole: a contribution of one frame is
 * used where it lies, a larger one is staged, and at most one a client.
 */

import type { Frame, FrameHeader } from "../../shared/protocol/frames.ts";
import { ProtocolError } from "../../shared/protocol/messages.ts";

/** A whole contribution. */
export interface Delivery {
  readonly header: FrameHeader;
  readonly body: Uint8Array;
}

/** Fields that every frame of one contribution repeats. */
const REPEATED = ["kind", "codec", "version", "step", "lease", "clamped", "loss", "weight", "total"] as const;

export class Upload {
  readonly header: FrameHeader;
  readonly #body: Uint8Array;
  #received = 0;

  constructor(first: Frame) {
    // Without the payload, which would keep the whole frame alive.
    const { payload: _, ...header } = first;
    this.header = header;
    this.#body = new Uint8Array(first.total);
  }

  get bytes(): number {
    return this.#body.byteLength;
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
    if (frame.payload.byteLength === 0) throw new ProtocolError("bad-frame", "an empty frame in a larger contribution");
    this.#body.set(frame.payload, frame.offset);
    this.#received += frame.payload.byteLength;
    return this.#received === this.#body.byteLength ? { header: this.header, body: this.#body } : null;
  }
}
