/** Clients that were closed for cause: counted, and told to the journal together. */

import { hasPassed } from "../../shared/clock.ts";
import type { ProtocolErrorCode } from "../../shared/protocol/messages.ts";

/** Refusals that are nobody's fault. */
const EXPECTED: ReadonlySet<ProtocolErrorCode> = new Set(["finished", "replaced", "deleted"]);
/** Milliseconds between two entries of the journal: whoever is refused again and again must not fill it. */
const INTERVAL = 10_000;

export class Refusals {
  /** Since this awakening, by code. */
  readonly counts: Record<string, number> = {};
  /** Those that the journal was not told yet. */
  #untold: Record<string, number> = {};
  #toldAt = 0;

  /** Counts one more. */
  count(code: ProtocolErrorCode): void {
    if (EXPECTED.has(code)) return;
    this.counts[code] = (this.counts[code] ?? 0) + 1;
    this.#untold[code] = (this.#untold[code] ?? 0) + 1;
  }

  /** What the journal is to be told now, such as `3 bad-frame`; null for nothing. */
  take(now: number): string | null {
    const untold = Object.entries(this.#untold);
    if (untold.length === 0 || !hasPassed(this.#toldAt, INTERVAL, now)) return null;
    this.#toldAt = now;
    this.#untold = {};
    return untold.map(([code, count]) => `${count} ${code}`).join(", ");
  }
}
