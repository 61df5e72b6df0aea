/**
 * Notices that the machine slept or the tab was frozen: a beat comes twice a second, and where far more time than that
 * passed on the wall's clock, nothing ran here in between. Whatever else runs may touch it, so that a timer that is merely
 * throttled, or kept waiting by arithmetic in its own thread, is not taken for a sleep.
 */

import type { Platform, Timer } from "./platform.ts";

export const BEAT = 500;
/** Milliseconds without a sign of life, beyond what one piece of arithmetic may take. */
export const LONGEST_SILENCE = 3_000;

export interface HeartbeatListeners {
  beat(): void;
  /** `milliseconds` of wall time were lost. */
  gap(milliseconds: number): void;
  /** The longest time that the thread may be kept by one micro-batch, in milliseconds. */
  patience(): number;
}

export class Heartbeat {
  readonly #platform: Platform;
  readonly #listeners: HeartbeatListeners;
  #timer: Timer | null = null;
  #last: number;

  constructor(platform: Platform, listeners: HeartbeatListeners) {
    this.#platform = platform;
    this.#listeners = listeners;
    this.#last = platform.date();
    this.#schedule();
  }

  /** A sign of life. */
  touch(): void {
    const now = this.#platform.date();
    const silence = now - this.#last;
    this.#last = now;
    if (silence > LONGEST_SILENCE + this.#listeners.patience()) this.#listeners.gap(silence);
  }

  stop(): void {
    if (this.#timer !== null) this.#platform.clearTimer(this.#timer);
    this.#timer = null;
  }

  #schedule(): void {
    this.#timer = this.#platform.setTimer(() => {
      this.#schedule();
      this.touch();
      this.#listeners.beat();
    }, BEAT);
  }
}
