import { describe, expect, it } from "vitest";
import { type Contestant, isMeasured, type Race, Refusal, runRace } from "../../bench/harness/race.ts";
import { summarize, summarizeRatios } from "../../bench/harness/statistics.ts";
import { formatRace } from "../../bench/harness/table.ts";

/** A contestant whose rounds are given; `log` hears of every round. */
const runner = (name: string, ours: boolean, rounds: readonly number[], log: string[] = []): Contestant => {
  let round = 0;
  return {
    name,
    ours,
    prepare: async () => ({ size: rounds.length }),
    measure: async () => {
      log.push(name);
      return rounds[round++];
    },
  };
};

const raceOf = (contestants: readonly Contestant[], rest: Partial<Race> = {}): Race => ({
  name: "race",
  work: "work",
  unit: "ms",
  better: "lower",
  contestants,
  ...rest,
});

describe("the benchmarks' statistics", () => {
  it("takes medians and quartiles as NumPy does", () => {
    expect(summarize([9])).toEqual({ median: 9, lower: 9, upper: 9 });
    expect(summarize([5, 1, 4, 2, 3])).toEqual({ median: 3, lower: 2, upper: 4 });
    // numpy.percentile([1, 2, 3, 10], [25, 50, 75])
    expect(summarize([10, 3, 2, 1])).toEqual({ median: 2.5, lower: 1.75, upper: 4.75 });
    expect(() => summarize([])).toThrow(/nothing was measured/);
  });

  it("compares round by round, so that what slows a whole round down does not count", () => {
    expect(summarizeRatios([2, 20, 4], [1, 10, 2])).toEqual({ median: 2, lower: 2, upper: 2 });
    expect(() => summarizeRatios([1], [1, 2])).toThrow(/not run together/);
  });
});

describe("a race", () => {
  it("lets all contestants run in every round, and begins with another one each time", async () => {
    const log: string[] = [];
    const rounds = [1, 1, 1];
    await runRace(raceOf(["a", "b", "c"].map((name) => runner(name, false, rounds, log))), 3);
    expect(log.join("")).toBe("abcbcacab");
  });

  it("never times who is refused, says why, and goes on with the others", async () => {
    const wrong: Contestant = {
      ...runner("wrong", true, [1]),
      prepare: () => Promise.reject(new Refusal("wrong", "its gradient is 0.5 from the reference")),
      measure: () => Promise.reject(new Error("it was timed")),
    };
    let attempts = 0;
    const broken: Contestant = {
      ...runner("broken", false, []),
      measure: () => {
        attempts += 1;
        return Promise.reject(new Error("no memory"));
      },
    };
    const { entries, gains } = await runRace(raceOf([wrong, broken, runner("right", false, [3, 3])]), 2);
    expect(entries[0]).toEqual({
      name: "wrong",
      ours: true,
      refused: "wrong",
      problem: "its gradient is 0.5 from the reference",
    });
    expect(entries[1]).toMatchObject({ refused: "failed", problem: "no memory" });
    expect(attempts).toBe(1);
    expect(entries[2]).toMatchObject({ summary: { median: 3 }, rounds: [3, 3], facts: { size: 2 } });
    expect(gains).toEqual([]);
  });

  it("says how many times as good ours is, whichever way is better", async () => {
    const contestants = () => [runner("own", true, [2, 2, 2]), runner("rival", false, [4, 6, 8])];
    const lower = await runRace(raceOf(contestants()), 3);
    expect(lower.gains).toEqual([{ ours: "own", rival: "rival", gain: { median: 3, lower: 2.5, upper: 3.5 } }]);
    const higher = await runRace(raceOf(contestants(), { better: "higher" }), 3);
    expect(higher.gains[0].gain.median).toBeCloseTo(1 / 3);
  });

  it("finds claims on the figure itself by what is better", async () => {
    const claims: Race["claims"] = [1, 3].map((bound) => ({ kind: "figure", ours: "own", bound }));
    const contestants = [runner("own", true, [2])];
    const lower = await runRace(raceOf(contestants, { claims }), 1);
    expect(lower.verdicts.map(({ found, holds }) => [found, holds])).toEqual([
      [2, false],
      [2, true],
    ]);
    const higher = await runRace(raceOf([runner("own", true, [2])], { claims, better: "higher", unit: "MB/s" }), 1);
    expect(higher.verdicts.map(({ holds }) => holds)).toEqual([true, false]);
    expect(formatRace(higher).join("\n")).toContain("FAILS  own ≥ 3 MB/s: 2");
  });

  it("finds claims true, false, or not measured", async () => {
    const claims: Race["claims"] = [
      { kind: "gain", ours: "own", rival: "rival", atLeast: 2 },
      { kind: "gain", ours: "own", rival: "rival", atLeast: 2.5 },
      { kind: "gain", ours: "own", rival: "absent", atLeast: 1 },
      { kind: "fact", ours: "own", fact: "size", atMost: 1 },
      { kind: "fact", ours: "own", fact: "weight", atMost: 1 },
    ];
    const result = await runRace(raceOf([runner("own", true, [2]), runner("rival", false, [4])], { claims }), 1);
    expect(result.verdicts.map(({ found, holds }) => [found, holds])).toEqual([
      [2, true],
      [2, false],
      [null, false],
      [1, true],
      [null, false],
    ]);
    const text = formatRace(result).join("\n");
    expect(text).toMatch(/^\* own +2 +2–2 +1$/m);
    expect(text).toContain("holds  own ≥ 2× rival: 2.00×");
    expect(text).toContain("FAILS  own ≥ 2.50× rival: 2.00×");
    expect(text).toContain("?      own ≥ 1× absent: not measured");
    expect(result.entries.every(isMeasured)).toBe(true);
  });
});
