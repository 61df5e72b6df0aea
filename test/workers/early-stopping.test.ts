import { evictDurableObject } from "cloudflare:test";
import { beforeAll, describe, expect, it } from "vitest";
import { dataset, defineSession, loss, nn, optim } from "../../shared/nn/index.ts";
import type { EarlyStopping, SessionDefinition } from "../../shared/session/definition.ts";
import { type Assign, createSession, FakeClient, type FakeSample, request, stubOf, takePart } from "./fleet.ts";
import { HELD_OUT, pushHeldOut, TRAIN } from "./held-out.ts";

/** Held-out loss after each epoch: the third is best, and the two after it are no better. */
const LOSSES = [4, 3, 1, 1.5, 2, 0.5, 0.25];

const sessionWith = (earlyStopping: Partial<EarlyStopping>): SessionDefinition =>
  defineSession({
    title: "Stops early",
    model: nn.sequential(nn.linear(1, 2)),
    input: [1],
    loss: loss.crossEntropy(),
    optimizer: optim.sgd({ lr: 0.1 }),
    data: dataset("held-out", { x: "x", y: "y", train: [0, TRAIN], validation: [TRAIN, TRAIN + HELD_OUT] }),
    batchSize: 8,
    microBatch: 4,
    epochs: LOSSES.length,
    earlyStopping: { patience: 2, ...earlyStopping },
  });

const STEPS_PER_EPOCH = TRAIN / 8;

interface Snapshot {
  readonly state: { readonly step: number; readonly stage: string; readonly status: string };
  readonly weights: Float32Array;
}

/** Trains to the end; the object is evicted while each of these epochs is evaluated, sockets and all. */
async function train(definition: SessionDefinition, evictions: readonly number[] = []) {
  const id = await createSession(definition);
  const snapshot = async (): Promise<Snapshot> => (await stubOf(id).snapshot()) as unknown as Snapshot;
  const client = new FakeClient(id, definition);
  const left = new Set(evictions);
  /** Weights by the updates in them, as the coordinator held them when it wanted them evaluated. */
  const held = new Map<number, Float32Array>();
  const sampleOf = async ({ work, step }: Assign): Promise<FakeSample> => {
    if (work !== "validate") return {};
    held.set(step, (await snapshot()).weights.slice());
    const epoch = step / STEPS_PER_EPOCH;
    if (left.delete(epoch)) await evictDurableObject(stubOf(id), { webSockets: "close" });
    return { loss: LOSSES[epoch - 1] };
  };
  do await takePart(client, 0, sampleOf);
  while ((await snapshot()).state.stage !== "done");
  const { state, weights } = await snapshot();
  const metrics = await request(`/api/sessions/${id}/metrics?after=0`);
  const { result, evaluations } = (await metrics.json()) as {
    result: { bestStep: number; weightsHash: string; bestHash: string };
    evaluations: readonly { step: number }[];
  };
  return { state, weights, held, result, evaluated: evaluations.map(({ step }) => step) };
}

const BEST = 3 * STEPS_PER_EPOCH;
const STOPPED = 5 * STEPS_PER_EPOCH;

describe("early stopping", () => {
  beforeAll(pushHeldOut);

  it("ends the run after two evaluations without a gain, with the best weights", async () => {
    const { state, weights, held, result, evaluated } = await train(sessionWith({}));
    expect(state).toMatchObject({ step: STOPPED, stage: "done", status: "finished" });
    expect(evaluated).toEqual([2, 4, 6, 8, 10]);
    expect(result.bestStep).toBe(BEST);
    expect(weights).toEqual(held.get(BEST));
    expect(weights).not.toEqual(held.get(STOPPED));
    expect(result.bestHash).not.toBe(result.weightsHash);
  });

  it("decides alike where the coordinator is evicted at every evaluation", async () => {
    const [undisturbed, evicted] = [await train(sessionWith({})), await train(sessionWith({}), [1, 2, 3, 4, 5])];
    expect(evicted.state.step).toBe(STOPPED);
    expect(evicted.evaluated).toEqual(undisturbed.evaluated);
    expect(evicted.result).toMatchObject({
      bestStep: BEST,
      weightsHash: undisturbed.result.weightsHash,
      bestHash: undisturbed.result.bestHash,
    });
    expect(evicted.weights).toEqual(undisturbed.weights);
  });

  it("ends with the last weights where the best ones are not wanted back, and still has those", async () => {
    const [kept, restored] = [await train(sessionWith({ restoreBest: false })), await train(sessionWith({}))];
    expect(kept.state.step).toBe(STOPPED);
    expect(kept.weights).toEqual(kept.held.get(STOPPED));
    expect(kept.result).toMatchObject({ bestStep: BEST, bestHash: restored.result.bestHash });
  });

  it("goes on to the end where patience lasts", async () => {
    const { state, evaluated } = await train(sessionWith({ patience: 3 }));
    expect(state.step).toBe(LOSSES.length * STEPS_PER_EPOCH);
    expect(evaluated).toHaveLength(LOSSES.length);
  });
});
