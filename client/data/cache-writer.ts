/**
 * Puts chunks into the platform's cache, one at a time, while nothing is downloaded: whoever has just come waits for its first samples,
 * and a browser takes as long to write a chunk as to fetch it.
 */

import type { ByteCache } from "../core/platform.ts";

/** Bytes that may wait. More are written whatever else goes on. */
const MOST_WAITING = 64 * 1024 * 1024;

export class CacheWriter {
  readonly #cache: ByteCache;
  readonly #isBusy: () => boolean;
  readonly #waiting: { readonly hash: string; readonly bytes: Uint8Array<ArrayBuffer> }[] = [];
  #waitingBytes = 0;
  #isWriting = false;

  /** @param isBusy whether something is being downloaded; `resume` is to be called when nothing is any more */
  constructor(cache: ByteCache, isBusy: () => boolean) {
    this.#cache = cache;
    this.#isBusy = isBusy;
  }

  add(hash: string, bytes: Uint8Array<ArrayBuffer>): void {
    this.#waiting.push({ hash, bytes });
    this.#waitingBytes += bytes.byteLength;
    this.resume();
  }

  resume(): void {
    if (!this.#isWriting) void this.#write();
  }

  /** What waits is not written: at the next visit it costs a download. */
  dispose(): void {
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
  }

  async #write(): Promise<void> {
    this.#isWriting = true;
    while (!this.#isBusy() || this.#waitingBytes > MOST_WAITING) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.#waitingBytes -= next.bytes.byteLength;
      await this.#cache.put(next.hash, next.bytes).catch(() => {}); // a full disk must not stop the training
    }
    this.#isWriting = false;
  }
}
