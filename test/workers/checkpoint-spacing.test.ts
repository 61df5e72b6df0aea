/** When the log is emptied: when it has grown to twice the checkpoint's size, after 16 steps at least and 64 at most. */

import { describe, expect, it } from "vitest";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { asAdmin, createSession, FakeClient, type FakeSample, request, takePart, tinySession } from "./fleet.ts";

interface Diagnostics {
  readonly checkpointStep: number;
  readonly log: { readonly steps: number; readonly bytes: number };
}

/** Steps between the checkpoints of a session that one client trains, and the size of the log before each. */
async function spacingOf(
  definition: SessionDefinition,
  sample: FakeSample = {},
): Promise<{ intervals: number[]; sizes: number[] }> {
  const id = await createSession(definition);
  const logs: Diagnostics[] = [];
  await takePart(new FakeClient(id, definition), 0, async ({ work }) => {
    const answer = await request(`/api/sessions/${id}/diagnostics`, asAdmin());
    if (work === "train") logs.push((await answer.json()) as Diagnostics);
    return sample;
  });
  const before = logs.filter(({ checkpointStep }, at) => logs[at + 1]?.checkpointStep > checkpointStep);
  const steps = [0, ...before.map((_, at) => logs[logs.indexOf(before[at]) + 1].checkpointStep)];
  return { intervals: steps.slice(1).map((step, at) => step - steps[at]), sizes: before.map(({ log }) => log.bytes) };
}

/** Weights, two moments and what clients hold: 412 float32 each, and three of the grid. */
const CHECKPOINT_BYTES = 4 * 412 * 4 + 3 * 4;

const long = (steps: number) => ({ ...tinySession({ steps, codec: "packed8", downlink: "delta" }), epochs: 100 });

describe("checkpoints", () => {
  it("come every 16 steps where steps take as much of the log as a checkpoint does", async () => {
    const { intervals } = await spacingOf({ ...tinySession({ steps: 70 }), epochs: 100 });
    expect(intervals).toEqual([16, 16, 16, 16]);
  });

  it("come when the log is twice as large", async () => {
    const { intervals, sizes } = await spacingOf(long(100), { lie: (sums) => sums.map((sum) => sum % 100) });
    expect(intervals.length).toBeGreaterThan(1);
    for (const interval of intervals) {
      expect(interval).toBeGreaterThan(16);
      expect(interval).toBeLessThan(64);
    }
    for (const [at, bytes] of sizes.entries()) {
      expect(bytes).toBeLessThan(2 * CHECKPOINT_BYTES);
      expect(bytes * (1 + 1 / (intervals[at] - 1))).toBeGreaterThanOrEqual(2 * CHECKPOINT_BYTES);
    }
  });

  it("come every 64 steps where next to nothing is logged", async () => {
    const { intervals } = await spacingOf(long(150), { lie: (sums) => sums.fill(0) });
    expect(intervals).toEqual([64, 64]);
  });
});
