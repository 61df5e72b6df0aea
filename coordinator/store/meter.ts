/**
 * Counts what one session uses of the platform. Counts live in memory and are written with the transactions that are made
 * anyway: an object that is thrown out of memory forgets those since the last one.
 */

/** What is counted, and kept in the table `usage` under the same names in snake case. */
export interface Counts {
  requests: number;
  messages: number;
  rowsRead: number;
  rowsWritten: number;
  activeSeconds: number;
  r2Writes: number;
  r2Reads: number;
}

/**
 * Milliseconds for which an event is taken to keep the object awake. The clock stands still while code runs, so an event's
 * own length cannot be measured; where events come faster than this, time awake is exact.
 */
const LINGER = 1_000;
/** Calls and messages after which counts are worth a write of their own. */
const WORTH_SAVING = 256;
/** Milliseconds: no timer is set for longer. */
const MOST_AHEAD = 10_000;

export class Meter {
  readonly #counts: Counts = {
    requests: 0,
    messages: 0,
    rowsRead: 0,
    rowsWritten: 0,
    activeSeconds: 0,
    r2Writes: 0,
    r2Reads: 0,
  };
  /** Milliseconds since 1970 up to which time awake is counted. */
  #countedUntil = 0;
  #unsaved = 0;

  get counts(): Readonly<Counts> {
    return this.#counts;
  }

  /** Whether so much was counted since the last write that it should not wait for the next one. */
  get isWorthSaving(): boolean {
    return this.#unsaved >= WORTH_SAVING;
  }

  /** Adds what was counted before this object was built. */
  restore(saved: Readonly<Counts>): void {
    for (const name of Object.keys(saved) as (keyof Counts)[]) this.#counts[name] += saved[name];
  }

  saved(): void {
    this.#unsaved = 0;
  }

  count(name: Exclude<keyof Counts, "activeSeconds">, amount = 1): void {
    this.#counts[name] += amount;
    if (name === "requests" || name === "messages") this.#unsaved += amount;
  }

  /** Something happens at `now`, or a timer is set that keeps the object awake until `until`. Milliseconds since 1970. */
  keepAwake(now: number, until = now): void {
    // Where the clock was set back, it is counted from where it stands.
    const from = this.#countedUntil > now + MOST_AHEAD ? now : Math.max(now, this.#countedUntil);
    const to = until + LINGER;
    if (to <= from) return;
    this.#counts.activeSeconds += (to - from) / 1000;
    this.#countedUntil = to;
  }
}
