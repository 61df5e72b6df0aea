/**
 * Notices a clock that was set back while a coordinator runs. workerd's time then stands still until the clock is there again, and with it
 * all of its timers and alarms: leases would not end, for hours. Started anew it goes by the clock as it is, and loses nothing.
 */

/** Milliseconds between two looks, and by how much more than clocks are nudged. */
const INTERVAL = 1_000;
const TOLERANCE = 1_000;

/** Calls `setBack` with the milliseconds whenever the time of day falls behind the time that passes. Answers what ends it. */
export function watchClock(setBack: (milliseconds: number) => void): () => void {
  const read = (): number => Date.now() - performance.now();
  let before = read();
  const timer = setInterval(() => {
    const now = read();
    if (before - now > TOLERANCE) setBack(before - now);
    before = now;
  }, INTERVAL);
  timer.unref();
  return () => clearInterval(timer);
}
