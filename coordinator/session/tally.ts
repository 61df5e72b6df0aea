/**
 * What a session's object did since it woke, for operators and benchmarks: messages and bytes both ways, and milliseconds by phase
 * of a step. Cloudflare's clock stands still while code runs, so phases stay at 0 there; a local workerd's clock goes on, in whole
 * milliseconds, which are right on the average of many steps.
 */

export const PHASES = [
  /** From a frame to a contribution that may be used. */
  "admit",
  /** Its integers into the open step's sums. */
  "add",
  /** The norm of the step's gradient. */
  "prepare",
  /** The transaction that makes the step durable. */
  "log",
  /** Decoding and the optimizer. */
  "update",
  /** The stored parameters, every few steps. */
  "checkpoint",
  /** The new weights into the sockets. */
  "broadcast",
] as const;

export type Phase = (typeof PHASES)[number];

interface Traffic {
  messagesIn: number;
  bytesIn: number;
  messagesOut: number;
  bytesOut: number;
}

export interface TallyReport extends Readonly<Traffic> {
  /** Training steps done. */
  readonly steps: number;
  readonly milliseconds: Readonly<Record<Phase, number>>;
}

export class Tally {
  readonly #milliseconds = Object.fromEntries(PHASES.map((phase) => [phase, 0])) as Record<Phase, number>;
  readonly #traffic: Traffic = { messagesIn: 0, bytesIn: 0, messagesOut: 0, bytesOut: 0 };
  #steps = 0;

  received(bytes: number): void {
    this.#traffic.messagesIn += 1;
    this.#traffic.bytesIn += bytes;
  }

  sent(bytes: number): void {
    this.#traffic.messagesOut += 1;
    this.#traffic.bytesOut += bytes;
  }

  /** A training step is done. */
  stepped(): void {
    this.#steps += 1;
  }

  /** Counts a phase that began at `since`, of `performance.now()`; answers what the time is now. */
  lap(phase: Phase, since: number): number {
    const now = performance.now();
    this.#milliseconds[phase] += now - since;
    return now;
  }

  report(): TallyReport {
    return { steps: this.#steps, ...this.#traffic, milliseconds: { ...this.#milliseconds } };
  }
}
