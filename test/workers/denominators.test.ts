import { describe, expect, it } from "vitest";
import { loss } from "../../shared/nn/index.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { type Assign, createSession, FakeClient, type FakeSample, stubOf, takePart, tinySession } from "./fleet.ts";

interface Snapshot {
  readonly state: { readonly step: number; readonly stage: string };
  readonly weights: Float32Array;
}

/** Trains to the end; the weights before each training step, by its number. */
async function train(definition: SessionDefinition, sampleOf: (assign: Assign) => FakeSample) {
  const id = await createSession(definition);
  const snapshot = async (): Promise<Snapshot> => (await stubOf(id).snapshot()) as unknown as Snapshot;
  const client = new FakeClient(id, definition);
  const before: Float32Array[] = [];
  await takePart(client, 0, async (assign) => {
    if (assign.work === "train") before[assign.step] ??= (await snapshot()).weights.slice();
    return sampleOf(assign);
  });
  return { ...(await snapshot()), before, error: client.error };
}

describe("the denominator of a step", () => {
  it("may be zero, as where every target is ignored: the step counts and changes nothing", async () => {
    const definition = tinySession({ steps: 4 });
    const { state, before, weights } = await train(definition, ({ work, step }) =>
      work === "calibrate" || step === 1 ? { loss: 0, weight: 0 } : {},
    );
    expect(state).toMatchObject({ step: 4, stage: "done" });
    expect(before[1]).not.toEqual(before[0]);
    expect(before[2]).toEqual(before[1]);
    expect(weights).not.toEqual(before[2]);
  });

  it("may be as much as class weights make it, and no more", async () => {
    const heavy = tinySession({ steps: 2, loss: loss.crossEntropy({ classWeights: [0.5, 1, 7] }) });
    expect((await train(heavy, () => ({ weight: 7 }))).state.step).toBe(2);
    for (const [definition, weight] of [
      [heavy, 7.5],
      [tinySession({ steps: 2 }), 1.5],
    ] as const) {
      const { state, error } = await train(definition, () => ({ weight }));
      expect(state.step).toBe(0);
      expect(error).toBe("bad-frame");
    }
  });
});
