/** How much work a client is given, and for how long: numbers in, numbers out. Speeds are micro-batches a millisecond. */

/** Weight of the newest measurement in a client's speed. */
const SPEED_MEMORY = 0.3;
/** Longest piece of work that one lease should be, so that progress is seen and little is lost with a client. */
const LEASE_TARGET = 2_000;
const SHORTEST_LEASE = 10_000;
const FIRST_LEASE = 30_000;
/** However slow a client seems: a clock that jumps ahead, or a machine that slept, makes it seem to have worked for days. */
const LONGEST_LEASE = 600_000;
const PATIENCE = 4;
/** A lease is overdue after so many times what it should take, and not before so long. */
const OVERDUE = 2;
const SHORTEST_OVERDUE = 1_000;
const FIRST_OVERDUE = 5_000;
const LONGEST_OVERDUE = 300_000;

/** How long the last micro-batches are kept for clients that are still setting the new weights. */
export const RESERVE_TIME = 1_500;

/** A speed after one more result; null is not measured yet. */
export function updateSpeed(speed: number | null, microBatches: number, elapsed: number): number {
  const measured = microBatches / Math.max(elapsed, 1);
  return speed === null ? measured : speed + SPEED_MEMORY * (measured - speed);
}

/** A speed when so many micro-batches are not done yet: it is less than that at best. */
export const slowedSpeed = (speed: number | null, microBatches: number, elapsed: number): number | null =>
  speed === null ? null : Math.min(speed, microBatches / Math.max(elapsed, 1));

/**
 * Micro-batches for one client: its part of `work` micro-batches by its share of everyone's speed, at least 1. A newcomer,
 * whose speed is not known, gets the minimum.
 */
export function shardSize({ speed, everyone, work }: { speed: number | null; everyone: number; work: number }): number {
  if (speed === null) return 1;
  const share = Math.round((work * speed) / Math.max(everyone, speed));
  return Math.max(1, Math.min(share, Math.ceil(speed * LEASE_TARGET)));
}

/** Milliseconds that a lease of so many micro-batches is waited for: generous, because a late result still counts. */
export function leaseTime(speed: number | null, microBatches: number): number {
  if (speed === null) return FIRST_LEASE;
  return Math.min(Math.max(SHORTEST_LEASE, (PATIENCE * microBatches) / speed), LONGEST_LEASE);
}

/** Milliseconds after which somebody idle may compute the same, although the lease goes on. */
export function overdueTime(speed: number | null, microBatches: number): number {
  if (speed === null) return FIRST_OVERDUE;
  return Math.min(Math.max(SHORTEST_OVERDUE, (OVERDUE * microBatches) / speed), LONGEST_OVERDUE);
}
