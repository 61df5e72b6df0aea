import { describe, expect, test } from "vitest";
import { CoreGauge } from "../../bench/harness/core.ts";

/** Answers the times in turn, over and over. */
function clock(times: readonly number[]): () => number {
  let at = 0;
  return () => times[at++ % times.length];
}

describe("the gauge of a core", () => {
  test("says which part of the time a loop took longer than alone", () => {
    const gauge = new CoreGauge(clock([2, 3.2, 2.4, 3]));
    gauge.look();
    expect(gauge.takeShared()).toBe(0.5);
  });

  test("says what was since it was asked last, against the shortest of all", () => {
    let time = 1;
    const gauge = new CoreGauge(() => time);
    gauge.look();
    expect(gauge.takeShared()).toBe(0);
    time = 2;
    gauge.look();
    expect(gauge.takeShared()).toBe(1);
    expect(gauge.takeShared()).toBeNull();
  });

  test("times a loop of its own", () => {
    const gauge = new CoreGauge();
    gauge.look();
    const shared = gauge.takeShared();
    expect(shared).toBeGreaterThanOrEqual(0);
    expect(shared).toBeLessThan(1);
  });
});
