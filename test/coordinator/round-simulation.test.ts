import { describe, expect, it } from "vitest";
import { advance, type RoundEffect } from "../../coordinator/round/index.ts";
import { type Advance, InvariantError, type Outcome, simulate } from "./round-simulation.ts";

const count = Number(process.env.ROUND_SEEDS ?? 400);
/** Seeds that found something once. */
const FOUND = [13_000_067];
const ALL = [...Array.from({ length: count }, (_, seed) => seed), ...FOUND];
/** `ROUND_SEED=123` replays one seed, `ROUND_SEEDS=10000` runs so many. */
const replayed = process.env.ROUND_SEED;
const SEEDS = replayed === undefined ? ALL : [Number(replayed)];

function run(seed: number, machine?: Advance): Outcome {
  try {
    return simulate(seed, machine);
  } catch (error) {
    if (error instanceof Error) error.message = `ROUND_SEED=${seed}: ${error.message}`;
    throw error;
  }
}

/** A machine whose effects are tampered with. */
const tampered =
  (change: (effect: RoundEffect) => readonly RoundEffect[]): Advance =>
  (state, event) =>
    advance(state, event).flatMap(change);

describe("the round machine under seeded faults", () => {
  it("accepts every micro-batch of every piece exactly once and ends every run, whatever clients and restarts do", () => {
    const met = { restarts: 0, restored: 0, late: 0, overtaken: 0, failed: 0, duplicate: 0, stale: 0, foreign: 0 };
    for (const seed of SEEDS) {
      const outcome = run(seed);
      for (const fault of Object.keys(met) as (keyof typeof met)[]) met[fault] += outcome[fault];
    }
    if (replayed !== undefined) return;
    // A run without faults shows nothing.
    for (const [fault, times] of Object.entries(met)) expect(times, fault).toBeGreaterThan(0);
    expect(met.restarts).toBeGreaterThan(SEEDS.length);
    expect(met.duplicate + met.stale + met.foreign).toBeGreaterThan(SEEDS.length);
  });

  it("does the same again for the same seed, event for event", () => {
    for (const seed of SEEDS.slice(0, 20)) expect(run(seed)).toEqual(run(seed));
  });

  it("is caught when a dropped result is accepted, work is assigned twice, or an accepted result is forgotten", () => {
    const broken: Record<string, Advance> = {
      "accepts duplicates": tampered((effect) => {
        if (effect.type !== "drop" || effect.reason !== "duplicate") return [effect];
        const lease = { id: effect.lease, work: "train", step: 0, version: 1, from: 0, to: 1 } as const;
        return [{ type: "accept", client: effect.client, lease: { ...lease, assignedAt: 0, deadline: 0 } }];
      }),
      "assigns one micro-batch too many": tampered((effect) =>
        effect.type === "assign" && effect.lease.from > 0
          ? [{ ...effect, lease: { ...effect.lease, from: effect.lease.from - 1 } }]
          : [effect],
      ),
      "forgets results": tampered((effect) => (effect.type === "accept" && effect.lease.from === 3 ? [] : [effect])),
      "completes twice": tampered((effect) => (effect.type === "complete" ? [effect, effect] : [effect])),
      "never wakes": tampered((effect) => (effect.type === "wake" ? [] : [effect])),
      "does not revoke": tampered((effect) => (effect.type === "revoke" ? [] : [effect])),
    };
    for (const [name, machine] of Object.entries(broken)) {
      const runAll = (): void => {
        for (const seed of ALL) run(seed, machine);
      };
      expect(runAll, name).toThrow(InvariantError);
    }
  });
});
