import { afterEach, expect, it, vi } from "vitest";
import { watchClock } from "../../cli/clock.ts";

const HOUR = 3_600_000;

afterEach(() => {
  vi.useRealTimers();
});

it("is told of a clock that is set back, once, and of none that is nudged, set ahead, or runs on", () => {
  vi.useFakeTimers({ now: 100 * HOUR });
  const told: number[] = [];
  const stop = watchClock((milliseconds) => told.push(milliseconds));
  vi.advanceTimersByTime(10_000);
  for (const milliseconds of [-500, HOUR]) {
    vi.setSystemTime(Date.now() + milliseconds);
    vi.advanceTimersByTime(5_000);
  }
  expect(told).toEqual([]);
  vi.setSystemTime(Date.now() - HOUR);
  vi.advanceTimersByTime(5_000);
  expect(told).toEqual([HOUR]);
  stop();
  vi.setSystemTime(Date.now() - HOUR);
  vi.advanceTimersByTime(5_000);
  expect(told).toEqual([HOUR]);
});
