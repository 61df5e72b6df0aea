import { describe, expect, it } from "vitest";
import { advance } from "../../coordinator/round/index.ts";
import { InvariantError, simulate } from "./round-simulation.ts";

/** `ROUND_SEED=123` replays one seed. */
const only = process.env.ROUND_SEED;
const SEEDS = only === undefined ? Array.from({ length: 400 }, (_, seed) => seed) : [Number(only)];

function run(seed: number, machine = advance) {
  try {
    return simulate(seed, machine);
  } catch (error) {
    if (error instanceof Error) error.message = `ROUND_SEED=${seed}: ${error.message}`;
    throw error;
  }
}

describe("the round machine under seeded faults", () => {
  it("accepts every micro-batch exactly once and finishes every run, whatever clients and restarts do", () => {
    const totals = { events: 0, restarts: 0, dropped: 0 };
    for (const seed of SEEDS) {
      const outcome = run(seed);
      totals.events += outcome.events;
      totals.restarts += outcome.restarts;
      totals.dropped += outcome.dropped;
    }
    if (only !== undefined) return;
    // The faults did happen.
    expect(totals.events).toBeGreaterThan(10_000);
    expect(totals.restarts).toBeGreaterThan(50);
    expect(totals.dropped).toBeGreaterThan(50);
  });

  it("would not pass if a duplicate were accepted", () => {
    const careless: typeof advance = (state, event) =>
      advance(state, event).map((effect) => {
        if (effect.type !== "drop" || effect.reason !== "duplicate") return effect;
        const lease = { id: effect.lease, work: state.stage as "train", step: state.step, version: state.version };
        return {
          type: "accept",
          client: effect.client,
          lease: { ...lease, from: 0, to: 1, assignedAt: 0, deadline: 0 },
        };
      });
    expect(() => {
      for (const seed of SEEDS) run(seed, careless);
    }).toThrow(InvariantError);
  });
});
