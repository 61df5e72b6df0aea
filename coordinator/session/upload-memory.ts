/**
 * Memory for results of several frames. It is taken with the lease, for frames come without being asked for, and given back once the
 * result was added or is not waited for any more.
 */

import type { Frame } from "../../shared/protocol/frames.ts";
import type { Client } from "./client.ts";
import type { Ledger } from "./ledger.ts";
import { Delivery, Upload } from "./upload.ts";

export class UploadMemory {
  readonly #ledger: Ledger;
  /** Bytes of the largest result that comes in several frames; 0 if none does. */
  readonly largest: number;

  constructor(ledger: Ledger, largest: number) {
    this.#ledger = ledger;
    this.largest = largest;
  }

  /** Takes a client's memory, if it has none yet; false if there is none free. */
  grant(client: Client): boolean {
    if (client.granted === 0 && this.#ledger.take("uploads", this.largest)) client.granted = this.largest;
    return client.granted === this.largest;
  }

  /** Lets go of what a client sent so far. */
  drop(client: Client): void {
    client.upload = null;
    this.#ledger.give("uploads", client.granted);
    client.granted = 0;
  }

  /** Whether there is memory to keep a frame until its result is whole. */
  hasRoom(client: Client, { payload, total }: Frame): boolean {
    return payload.byteLength === total || this.grant(client);
  }

  /** The whole body once it is there; at most one that is not is kept a client. Throws ProtocolError `bad-frame`. */
  assemble(client: Client, frame: Frame): Delivery | null {
    if (frame.payload.byteLength === frame.total) return new Delivery([frame.payload]);
    if (client.upload === null || frame.offset === 0) client.upload = new Upload(frame);
    return client.upload.add(frame);
  }
}
