/**
 * Carries out what the governor says: rests between bursts of micro-batches, and keeps the books. At a share of 1 there is
 * one burst a lease, no timer is set, and nothing waits for the engine before the end: work goes from message to message.
 */

import type { DataSource } from "../data/source.ts";
import type { GradientEngine } from "../engine/engine.ts";
import type { Governor } from "./governor.ts";
import type { Platform } from "./platform.ts";
import { sleep } from "./platform.ts";
import type { Stopwatch } from "./usage.ts";

/** Milliseconds of computing between two rests. */
const BURST = 50;

export class Pacer {
  readonly #platform: Platform;
  readonly #governor: Governor;
  readonly #stopwatch: Stopwatch;
  readonly #onSign: () => void;
  readonly #onOverdrawn: () => void;
  #burst: { start: number; readonly waited: number; microBatches: number } | null = null;
  #rest: AbortController | null = null;

  /** `onSign` is called whenever something was computed, `onOverdrawn` when more would be for which too much rest is owed. */
  constructor(
    platform: Platform,
    governor: Governor,
    stopwatch: Stopwatch,
    { onSign, onOverdrawn }: { readonly onSign: () => void; readonly onOverdrawn: () => void },
  ) {
    this.#platform = platform;
    this.#governor = governor;
    this.#stopwatch = stopwatch;
    this.#onSign = onSign;
    this.#onOverdrawn = onOverdrawn;
  }

  /** Before each micro-batch: rests if that is owed. An abort ends the rest. */
  async start(data: DataSource, signal: AbortSignal): Promise<void> {
    if (this.#burst !== null) return;
    // The work under way is given back and its signal aborts.
    if (this.#governor.overdrawn) this.#onOverdrawn();
    if (signal.aborted) return;
    for (let rest = this.#wanted(); rest > 0 && !signal.aborted; rest = this.#wanted()) {
      this.#rest = new AbortController();
      signal.addEventListener("abort", this.wake, { once: true });
      await sleep(this.#platform, rest, this.#rest.signal);
      signal.removeEventListener("abort", this.wake);
    }
    this.#burst = { start: this.#platform.now(), waited: data.waited, microBatches: 0 };
  }

  /** After each micro-batch was handed over: once a burst was long enough, the engine comes to rest. */
  async pause(work: string, data: DataSource, engine: GradientEngine): Promise<void> {
    const burst = this.#burst;
    if (burst === null) return;
    burst.microBatches += 1;
    this.#onSign();
    if (this.#governor.share === 1 || this.#platform.now() - burst.start < BURST) return;
    await engine.idle();
    this.end(work, data);
  }

  /** The engine has come to rest. */
  end(work: string, data: DataSource): void {
    if (this.#burst === null) return;
    this.#onSign();
    const { start, waited, microBatches } = this.#burst;
    this.#burst = null;
    const end = this.#platform.now();
    this.#note(work, microBatches, Math.max(0, end - start - (data.waited - waited)), end);
  }

  /** Counts work besides micro-batches that began at `start`. */
  count(start: number): void {
    const end = this.#platform.now();
    this.#note("", 0, end - start, end);
  }

  /** So much time passed in which nothing seems to have run: it was no work. */
  lose(milliseconds: number): void {
    if (this.#burst === null) return;
    this.#burst.start += milliseconds;
    this.#governor.suspect(milliseconds);
  }

  /** Something changed: a rest may have become too long. */
  readonly wake = (): void => {
    this.#rest?.abort();
  };

  #wanted(): number {
    return this.#governor.takeRest(this.#platform.now());
  }

  #note(work: string, microBatches: number, busy: number, end: number): void {
    this.#governor.worked({ work, microBatches, busy, end });
    this.#stopwatch.computed(busy, end);
  }
}
