/**
 * What wakes a session that nobody sends anything: timers for short waits, which keep the object awake, and the one alarm for longer
 * ones, which does not.
 */

import type { Meter } from "../store/meter.ts";

/** Waits of up to so many milliseconds use a timer. */
const TIMER_LIMIT = 2_000;

export interface WakesOptions {
  readonly storage: DurableObjectStorage;
  readonly meter: Meter;
  /** The time that was asked for has come, or nearly. */
  readonly onTick: () => void;
  /** A timer's doing failed, for which nobody else answers. */
  readonly onError: (error: unknown) => void;
}

export class Wakes {
  readonly #options: WakesOptions;
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** When a tick is wanted, and when the alarm is set to ring: the same time or earlier. */
  #wanted: number | null = null;
  #alarmAt: number | null = null;
  /** While nothing is waited for: when the alarm rings all the same, null for never. Undefined while something is, or may be. */
  #restsUntil: number | null | undefined = undefined;

  constructor(options: WakesOptions) {
    this.#options = options;
  }

  get isWanted(): boolean {
    return this.#wanted !== null;
  }

  /**
   * Asks for one tick at a time instead of any that was asked for before; null for none. Deadlines move on with every step, so an alarm that
   * rings too early is left alone: it costs less than setting it anew.
   */
  tickAt(time: number | null): void {
    this.#wanted = time;
    this.#stopTimer();
    if (time === null) return;
    this.#restsUntil = undefined;
    const now = Date.now();
    if (time - now > TIMER_LIMIT) {
      if (this.#alarmAt === null || this.#alarmAt > time) this.#setAlarm(time);
      return;
    }
    this.#options.meter.keepAwake(now, time);
    this.#timer = this.later(
      () => {
        this.#timer = null;
        this.#tick();
      },
      Math.max(0, time - now),
    );
  }

  /** The alarm rang. */
  rang(): void {
    this.#alarmAt = null;
    this.#tick();
  }

  /** Nothing is waited for: whether that is new. At `until` the alarm rings all the same, if it is not null. */
  rest(until: number | null): boolean {
    if (until === this.#restsUntil) return false;
    this.#stopTimer();
    this.#wanted = null;
    this.#restsUntil = until;
    this.#setAlarm(until);
    return true;
  }

  /** Forgets what a timer was set for. */
  dispose(): void {
    this.#stopTimer();
  }

  /** What a timer does, for which nobody else answers. */
  later(act: () => void, wait: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      try {
        act();
      } catch (error) {
        this.#options.onError(error);
      }
    }, wait);
  }

  #tick(): void {
    this.#options.onTick();
    // It may have come a little early, and nothing changed by it.
    if (this.#wanted !== null && this.#wanted > Date.now()) this.tickAt(this.#wanted);
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #setAlarm(time: number | null): void {
    const { storage, meter } = this.#options;
    this.#alarmAt = time;
    // The platform bills either as a row.
    meter.count("rowsWritten");
    if (time === null) void storage.deleteAlarm();
    else void storage.setAlarm(time);
  }
}
