import { describe, expect, it } from "vitest";
import { Chaos } from "../chaos/chaos.ts";
import { Witness } from "../chaos/witness.ts";

describe("a training to which everything happens at once", () => {
  it("ends with the bits of a calm one, and nobody sees a step lost or done twice", async () => {
    const outcome = await new Chaos({
      seed: 3,
      // More than a fast machine makes before the last blow.
      steps: 120,
      processes: 3,
      tabs: 0,
      churn: 3,
      kills: 2,
      fills: 1,
      jumps: 2,
      delay: 40,
      say: (line) => console.log(line),
    }).run();
    expect(outcome.complaints).toEqual([]);
    expect(outcome.weightsHash).toBe(outcome.calmHash);
    expect(outcome.weightsHash).toMatch(/^[0-9a-f]{64}$/);
    const blows = outcome.recoveries.map(({ blow }) => blow);
    expect(blows.filter((blow) => blow === "kills")).toHaveLength(2);
    // Where nothing can be mounted, or no C compiler is there, it says so.
    expect(blows.length + outcome.leftOut.length).toBeGreaterThanOrEqual(4);
    expect(outcome.counted.left).toBeGreaterThan(0);
  });
});

describe("the witness of a training", () => {
  it("complains of weights that come twice or fall, and of two steps with one version", () => {
    const witness = new Witness();
    const one = witness.client("one");
    const two = witness.client("two");
    one({ what: "weights", step: 1, version: 2 });
    one({ what: "progress", step: 1, version: 2 });
    one({ what: "progress", step: 1, version: 2 });
    two({ what: "weights", step: 2, version: 3 });
    expect(witness.complaints).toEqual([]);
    one({ what: "weights", step: 1, version: 2 });
    one({ what: "progress", step: 0, version: 2 });
    two({ what: "weights", step: 3, version: 2 });
    expect(witness.complaints).toHaveLength(4);
  });
});
