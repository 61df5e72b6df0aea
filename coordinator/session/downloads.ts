/**
 * Weights over HTTP. A reader gets one version whole, however slowly it reads and however many steps are done meanwhile:
 * a copy is made once per version, shared by its readers, counted in the ledger and dropped with its last reader.
 */

import { hasPassed } from "../../shared/clock.ts";
import type { Ledger } from "./ledger.ts";
import { type Body, copyBody } from "./sections.ts";

/** Bytes handed over at a time. */
const PART_BYTES = 256 * 1024;
/** A reader this old, in milliseconds, gives way when there is no room for a new version. */
const PATIENCE = 120_000;

interface Copy {
  /** Tells bodies apart, such as `latest:7`. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly readers: Set<Reader>;
}

interface Reader {
  readonly since: number;
  fail(reason: string): void;
}

export class Downloads {
  readonly #ledger: Ledger;
  readonly #copies = new Map<string, Copy>();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** A stream of the body, which is only asked for if no copy under this name is held; null if there is no room now. */
  open(name: string, now: number, total: number, body: () => Body): ReadableStream<Uint8Array> | null {
    let copy = this.#copies.get(name);
    if (copy === undefined) {
      if (!this.#makeRoom(total, now)) return null;
      const bytes = new Uint8Array(total);
      copyBody(body(), 0, bytes);
      copy = { name, bytes, readers: new Set() };
      this.#copies.set(name, copy);
    }
    return this.#stream(copy, now);
  }

  #makeRoom(bytes: number, now: number): boolean {
    if (this.#ledger.take("downloads", bytes)) return true;
    for (const copy of this.#copies.values()) {
      for (const reader of copy.readers) {
        if (hasPassed(reader.since, PATIENCE, now)) reader.fail("this download took too long, and others wait");
      }
    }
    return this.#ledger.take("downloads", bytes);
  }

  #stream(copy: Copy, now: number): ReadableStream<Uint8Array> {
    let offset = 0;
    let reader: Reader;
    const leave = (): void => {
      if (!copy.readers.delete(reader) || copy.readers.size > 0) return;
      this.#copies.delete(copy.name);
      this.#ledger.give("downloads", copy.bytes.byteLength);
    };
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          reader = {
            since: now,
            fail: (reason) => {
              leave();
              controller.error(new Error(reason));
            },
          };
          copy.readers.add(reader);
        },
        pull: (controller) => {
          const part = copy.bytes.slice(offset, offset + PART_BYTES);
          offset += part.byteLength;
          controller.enqueue(part);
          if (offset < copy.bytes.byteLength) return;
          leave();
          controller.close();
        },
        cancel: leave,
      },
      { highWaterMark: 0 },
    );
  }
}
