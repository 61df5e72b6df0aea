/**
 * Full-jitter exponential back-off: the n-th delay is uniform in [0, min(limit, first · 2ⁿ)).
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 * A deploy drops every socket at once; jitter is what keeps them from coming back at once.
 */

export const FIRST_DELAY = 500;
export const LONGEST_DELAY = 30_000;

/** Milliseconds to wait before retry number `attempt`, counted from 0; `random` is uniform in [0, 1). */
export function backoffDelay(attempt: number, random: number): number {
  return random * Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** Math.min(attempt, 16));
}
