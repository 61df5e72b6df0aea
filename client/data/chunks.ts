/**
 * Immutable chunks by SHA-256: downloaded a few at a time, verified, kept in memory up to a bound of bytes (least
 * recently used goes first), and in the platform's cache between visits.
 */

import { describeError, TrainingError } from "../core/errors.ts";
import { get, HttpError, mayRetry, pauseAfter } from "../core/http.ts";
import type { Platform } from "../core/platform.ts";
import { sleep } from "../core/platform.ts";
import { CacheWriter } from "./cache-writer.ts";

export const CHUNK_CACHE_BYTES = 256 * 1024 * 1024;
export const PARALLEL_DOWNLOADS = 4;
const ATTEMPTS = 5;

export interface ChunkRequest {
  readonly hash: string;
  /** Exact length: any other is refused. */
  readonly bytes: number;
}

export interface ChunkStoreOptions {
  readonly platform: Platform;
  readonly url: (hash: string) => string;
  readonly memoryBytes?: number;
  readonly parallel?: number;
  /** Called with the bytes held in memory when that changes. */
  readonly onLoaded?: (bytes: number) => void;
}

interface Waiting {
  readonly request: ChunkRequest;
  readonly start: () => void;
}

export class ChunkStore {
  readonly #options: ChunkStoreOptions;
  readonly #memoryBytes: number;
  readonly #parallel: number;
  /** In order of last use, oldest first. */
  readonly #held = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #loading = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  readonly #wanted: Waiting[] = [];
  readonly #ahead: Waiting[] = [];
  readonly #closed = new AbortController();
  /** Null where the platform has no cache. */
  readonly #writer: CacheWriter | null;
  #heldBytes = 0;
  #active = 0;

  constructor(options: ChunkStoreOptions) {
    this.#options = options;
    this.#memoryBytes = options.memoryBytes ?? CHUNK_CACHE_BYTES;
    this.#parallel = options.parallel ?? PARALLEL_DOWNLOADS;
    const { chunkCache } = options.platform;
    this.#writer = chunkCache === null ? null : new CacheWriter(chunkCache, () => this.#active > 0);
  }

  /** Bytes held in memory. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Chunks held in memory. */
  get count(): number {
    return this.#held.size;
  }

  /** The chunk if it is in memory. */
  peek(hash: string): Uint8Array<ArrayBuffer> | undefined {
    const bytes = this.#held.get(hash);
    if (bytes === undefined) return undefined;
    this.#held.delete(hash);
    this.#held.set(hash, bytes);
    return bytes;
  }

  /** The chunk, whatever it takes. Throws TrainingError `data` once the attempts are used up. */
  async load(request: ChunkRequest): Promise<Uint8Array<ArrayBuffer>> {
    const held = this.peek(request.hash);
    if (held !== undefined) return held;
    const waiting = this.#ahead.findIndex((entry) => entry.request.hash === request.hash);
    if (waiting >= 0) this.#wanted.push(...this.#ahead.splice(waiting, 1));
    return this.#loading.get(request.hash) ?? this.#enqueue(request, this.#wanted);
  }

  /** Fetches it when nothing more urgent is waiting. */
  prefetch(request: ChunkRequest): void {
    if (this.#held.has(request.hash) || this.#loading.has(request.hash) || this.#closed.signal.aborted) return;
    // Whoever needs the chunk asks again and hears of the failure then.
    this.#enqueue(request, this.#ahead).catch(() => {});
  }

  dispose(): void {
    this.#closed.abort();
    this.#writer?.dispose();
    this.#held.clear();
    this.#heldBytes = 0;
    for (const { start } of [...this.#wanted.splice(0), ...this.#ahead.splice(0)]) start();
  }

  #enqueue(request: ChunkRequest, queue: Waiting[]): Promise<Uint8Array<ArrayBuffer>> {
    const promise = new Promise<void>((resolve) => {
      queue.push({ request, start: resolve });
      this.#startNext();
    })
      .then(() => this.#fetch(request))
      .finally(() => {
        this.#loading.delete(request.hash);
        this.#active -= 1;
        this.#startNext();
        this.#writer?.resume();
      });
    this.#loading.set(request.hash, promise);
    return promise;
  }

  #startNext(): void {
    while (this.#active < this.#parallel) {
      const next = this.#wanted.shift() ?? this.#ahead.shift();
      if (next === undefined) return;
      this.#active += 1;
      next.start();
    }
  }

  async #fetch(request: ChunkRequest): Promise<Uint8Array<ArrayBuffer>> {
    const cached = await this.#fromCache(request);
    if (cached !== null) return this.#keep(request.hash, cached);
    const { platform, url } = this.#options;
    const { signal } = this.#closed;
    let failure: unknown = new TrainingError("data", "the data source is closed");
    for (let attempt = 0; attempt < ATTEMPTS && !signal.aborted; attempt++) {
      if (attempt > 0) await sleep(platform, pauseAfter(failure, attempt, platform.random()), signal);
      try {
        const { body } = await get(platform, url(request.hash), request.bytes, signal);
        const problem = await this.#problem(request, body);
        if (problem === null) {
          this.#writer?.add(request.hash, body);
          return this.#keep(request.hash, body);
        }
        failure = new HttpError(0, "corrupt", problem);
      } catch (error) {
        failure = error;
      }
      if (!mayRetry(failure)) break;
    }
    throw new TrainingError("data", `chunk ${request.hash.slice(0, 12)}…: ${describeError(failure)}`, {
      cause: failure,
    });
  }

  async #fromCache(request: ChunkRequest): Promise<Uint8Array<ArrayBuffer> | null> {
    try {
      const bytes = (await this.#options.platform.chunkCache?.get(request.hash)) ?? null;
      return bytes !== null && (await this.#problem(request, bytes)) === null ? bytes : null;
    } catch {
      // A cache that cannot be read is a cache that holds nothing.
      return null;
    }
  }

  /** What is wrong with the bytes, or null. */
  async #problem(request: ChunkRequest, bytes: Uint8Array<ArrayBuffer>): Promise<string | null> {
    if (bytes.byteLength !== request.bytes) return `${bytes.byteLength} bytes came, expected ${request.bytes}`;
    const { sha256 } = this.#options.platform;
    if (sha256 === null) return null;
    const hash = await sha256(bytes);
    return hash === request.hash ? null : `its bytes hash to ${hash.slice(0, 12)}…`;
  }

  #keep(hash: string, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    if (this.#closed.signal.aborted) return bytes;
    this.#held.set(hash, bytes);
    this.#heldBytes += bytes.byteLength;
    for (const [oldest, { byteLength }] of this.#held) {
      if (this.#heldBytes <= this.#memoryBytes || oldest === hash) break;
      this.#held.delete(oldest);
      this.#heldBytes -= byteLength;
    }
    this.#options.onLoaded?.(this.#heldBytes);
    return bytes;
  }
}
