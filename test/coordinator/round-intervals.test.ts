import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IntervalSet, type Range } from "../../coordinator/round/intervals.ts";

const SIZE = 40;
const range = fc
  .tuple(fc.integer({ min: 0, max: SIZE }), fc.integer({ min: 0, max: SIZE }))
  .map(([a, b]): Range => ({ from: Math.min(a, b), to: Math.max(a, b) }));
const change = fc.record({ adds: fc.boolean(), range });

/** The same set as one flag for each integer. */
function flagsAfter(changes: readonly { adds: boolean; range: Range }[]): boolean[] {
  const flags = new Array<boolean>(SIZE).fill(false);
  for (const { adds, range } of changes) flags.fill(adds, range.from, range.to);
  return flags;
}

function setAfter(changes: readonly { adds: boolean; range: Range }[]): IntervalSet {
  const set = new IntervalSet();
  for (const { adds, range } of changes) adds ? set.add(range) : set.remove(range);
  return set;
}

describe("a set of intervals", () => {
  it("has the members that a flag for each integer would have, after any additions and removals", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), range, (changes, asked) => {
        const flags = flagsAfter(changes);
        const set = setAfter(changes);
        const part = flags.slice(asked.from, asked.to);
        expect(set.size).toBe(flags.filter(Boolean).length);
        expect(set.intersects(asked)).toBe(part.includes(true));
        if (asked.from < asked.to) expect(set.contains(asked)).toBe(!part.includes(false));
        const within = new Array<boolean>(SIZE).fill(false);
        for (const run of set.within(asked)) within.fill(true, run.from, run.to);
        expect(within).toEqual(flags.map((flag, at) => flag && at >= asked.from && at < asked.to));
      }),
      { numRuns: 500 },
    );
  });

  it("names its lowest run, joined with what touches it", () => {
    const set = setAfter([
      { adds: true, range: { from: 5, to: 7 } },
      { adds: true, range: { from: 9, to: 12 } },
      { adds: true, range: { from: 7, to: 9 } },
      { adds: true, range: { from: 20, to: 21 } },
    ]);
    expect(set.first).toEqual({ from: 5, to: 12 });
    expect(new IntervalSet().first).toBeNull();
  });

  it("costs the same for millions of integers", () => {
    const set = setAfter([{ adds: true, range: { from: 0, to: 50_000_000 } }]);
    set.remove({ from: 10, to: 49_999_990 });
    expect(set.size).toBe(20);
    expect([...set.within({ from: 5, to: 49_999_995 })]).toEqual([
      { from: 5, to: 10 },
      { from: 49_999_990, to: 49_999_995 },
    ]);
  });
});
