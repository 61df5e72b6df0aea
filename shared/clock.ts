/** Time by a clock that may be set: ahead, and back. */

/**
 * Whether so many milliseconds have passed since a moment. By a clock that was set back meanwhile nothing can be said of it; then they have,
 * or somebody would wait until it is there again.
 */
export const hasPassed = (since: number, milliseconds: number, now: number): boolean =>
  now < since || now - since >= milliseconds;
