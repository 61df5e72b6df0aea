import { describe, expect, it } from "vitest";
import type { Mark, MarkName } from "../../bench/timeline/recorder.ts";
import { decisiveTurns, meanStages, meanWait, turnsOf } from "../../bench/timeline/stages.ts";

const marksOf = (...marks: [MarkName, number][]): Mark[] => marks.map(([name, at]) => ({ name, at }));

/** A turn from 10 to 100, in which two leases were computed. */
const turn = marksOf(
  ["ready", 10],
  ["assigned", 12],
  ["filled", 15],
  ["computed", 35],
  ["read", 36],
  ["sent", 40],
  ["assigned", 43],
  ["filled", 44],
  ["accumulated", 50],
  ["filled", 52],
  ["computed", 60],
  ["read", 61],
  ["sent", 63],
  ["weights-began", 80],
  ["weights-came", 90],
  ["ready", 100],
);

describe("a volunteer's turn", () => {
  it("is cut into stages that add up to it", () => {
    const turns = turnsOf(turn);
    expect(turns).toEqual([
      {
        stages: {
          assign: 5,
          fill: 6,
          compute: 34,
          "read back": 2,
          encode: 6,
          coordinator: 17,
          download: 10,
          apply: 10,
        },
        milliseconds: 90,
        sentAt: 63,
      },
    ]);
    expect(Object.values(turns[0].stages).reduce((sum, value) => sum + value, 0)).toBe(90);
  });

  it("counts a lease that came with the weights as part of what it waited for anyway", () => {
    const marks = turn.flatMap((mark): Mark[] => {
      if (mark.name === "assigned" && mark.at === 12) return [];
      return mark.name === "weights-began" ? [{ name: "assigned", at: 79 }, mark] : [mark];
    });
    expect(turnsOf(marks)[0].stages).toMatchObject({ assign: 3, fill: 8, coordinator: 17 });
  });

  it("waits for the last one, for as long as it was done before", () => {
    const [early] = turnsOf(turn);
    const late = { ...early, sentAt: 70 };
    const idle = { ...early, sentAt: null };
    expect(
      meanWait(
        [
          [early, early],
          [late, early],
        ],
        0,
      ),
    ).toBe(3.5);
    expect(
      meanWait(
        [
          [early, early, idle],
          [late, late, early],
        ],
        1,
      ),
    ).toBe(7);
  });

  it("counts where its result was the last of the step", () => {
    const [early] = turnsOf(turn);
    const late = { ...early, sentAt: 70, milliseconds: 91 };
    const idle = { ...early, sentAt: null };
    const earlier = { ...early, milliseconds: 1 };
    // The first volunteer was there a step before the second one.
    const decisive = decisiveTurns([
      [earlier, early, idle],
      [late, early],
    ]);
    expect(decisive).toEqual([late, early]);
    expect(meanStages(decisive, 0).step).toBe(90.5);
    expect(meanStages(decisive, 1)).toMatchObject({ compute: 34, step: 90 });
  });
});
