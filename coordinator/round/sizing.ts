/** How much work a client is given, and for how long: numbers in, numbers out. Speeds are micro-batches a millisecond. */

/** Weight of the newest measurement in a client's speed. */
const SPEED_MEMORY = 0.3;
/** Longest piece of work that one lease should be, so that progress is seen and little is lost with a client. */
const LEASE_TARGET = 2_000;
const FIRST_LEASE = 30_000;
/** Results of a client from which on it is known how much its times spread; as many more are remembered. */
const KNOWN_AFTER = 8;
const REMEMBERED = 2 * KNOWN_AFTER;
/** Of the times of its last results, slowest first: the 90th percentile. */
const USUAL = 0.1;
/** How much longer than usual a client is waited for, and at least how long, in milliseconds: before and after it is known. */
const PATIENCE = { unknown: 4, known: 1.5 } as const;
const SHORTEST_LEASE = { unknown: 10_000, known: 2_000 } as const;

/** How long the last micro-batches are kept for clients that are still setting the new weights. */
export const RESERVE_TIME = 1_500;

/** A speed after one more result; null is not measured yet. */
export function updateSpeed(speed: number | null, microBatches: number, elapsed: number): number {
  const measured = microBatches / Math.max(elapsed, 1);
  return speed === null ? measured : speed + SPEED_MEMORY * (measured - speed);
}

/**
 * Micro-batches for one client: its part of `work` micro-batches by its share of everyone's speed, at least 1. A newcomer,
 * whose speed is not known, gets the minimum.
 */
export function shardSize({ speed, everyone, work }: { speed: number | null; everyone: number; work: number }): number {
  if (speed === null) return 1;
  const share = Math.round((work * speed) / Math.max(everyone, speed));
  return Math.max(1, Math.min(share, Math.ceil(speed * LEASE_TARGET)));
}

/** Milliseconds a micro-batch that a client's last results took, one more remembered. */
export function rememberPace(paces: number[], microBatches: number, elapsed: number): void {
  paces.push(elapsed / microBatches);
  if (paces.length > REMEMBERED) paces.shift();
}

/**
 * Milliseconds that a lease of so many micro-batches is waited for. A late result still counts if nobody else was faster, so that
 * too short a time costs no more than somebody's idle time; too long a one is what a client that hangs costs everybody.
 */
export function leaseTime(speed: number | null, paces: readonly number[], microBatches: number): number {
  if (speed === null) return FIRST_LEASE;
  if (paces.length < KNOWN_AFTER) {
    return Math.max(SHORTEST_LEASE.unknown, (PATIENCE.unknown * microBatches) / speed);
  }
  const slowestFirst = [...paces].sort((a, b) => b - a);
  const usual = slowestFirst[Math.floor(paces.length * USUAL)] * microBatches;
  return Math.max(SHORTEST_LEASE.known, PATIENCE.known * usual);
}
