import { evictDurableObject } from "cloudflare:test";
import { beforeAll, describe, expect, it } from "vitest";
import { optim, schedule } from "../../shared/nn/index.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { type Assign, createSession, FakeClient, type FakeSample, request, stubOf, takePart } from "./fleet.ts";
import { pushHeldOut } from "./held-out.ts";
import { LOSSES, RULES, STEPS_PER_EPOCH, sessionWith } from "./rules.ts";

interface Snapshot {
  readonly state: { readonly stage: string; readonly weightsHash: string; readonly bestHash: string };
  readonly weights: Float32Array;
  readonly states: Readonly<Record<string, Float32Array>>;
}

/** Trains to the end by one scripted client; the object is evicted in the middle of each of these pieces of work. */
async function train(definition: SessionDefinition, evictions: readonly string[] = []) {
  const id = await createSession(definition);
  const snapshot = async (): Promise<Snapshot> => (await stubOf(id).snapshot()) as unknown as Snapshot;
  const client = new FakeClient(id, definition);
  const left = new Set(evictions);
  const sampleOf = async ({ work, step }: Assign): Promise<FakeSample> => {
    if (left.delete(`${work} ${step}`)) await evictDurableObject(stubOf(id), { webSockets: "close" });
    return work === "validate" ? { loss: LOSSES[step / STEPS_PER_EPOCH - 1] } : {};
  };
  do {
    await takePart(client, 0, sampleOf);
    if (client.error !== null && client.error !== "finished") throw new Error(client.error);
  } while ((await snapshot()).state.stage !== "done");
  const metrics = await request(`/api/sessions/${id}/metrics?after=0`);
  const { steps } = (await metrics.json()) as { steps: readonly { lr: number }[] };
  return { id, ...(await snapshot()), rates: steps.map(({ lr }) => lr) };
}

const bits = (values: Float32Array): number[] => [...new Uint32Array(values.slice().buffer)];

describe("an update rule", () => {
  beforeAll(pushHeldOut);

  for (const [name, rule] of Object.entries(RULES)) {
    it(`goes on bit for bit where the coordinator is evicted (I3): ${name}`, async () => {
      const definition = sessionWith(rule);
      const calm = await train(definition);
      const evictions = ["train 1", "train 6", "validate 8", "train 15", "train 16", "validate 18", "train 19"];
      const disturbed = await train(definition, evictions);
      expect(bits(disturbed.weights)).toEqual(bits(calm.weights));
      expect(Object.keys(calm.states)).toEqual(Object.keys(disturbed.states));
      for (const [state, values] of Object.entries(calm.states)) {
        expect(bits(disturbed.states[state]), state).toEqual(bits(values));
      }
      expect(disturbed.state.weightsHash).toBe(calm.state.weightsHash);
      expect(disturbed.rates).toEqual(calm.rates);
    });
  }

  it("reports each step's learning rate", async () => {
    const { rates } = await train(sessionWith(RULES["adagrad, plateau"]));
    // The third and fourth of equal losses come after epochs 4 and 5: patience of one lasts until the first of them.
    expect(rates[0]).toBe(0.01);
    expect(rates[4 * STEPS_PER_EPOCH - 1]).toBe(0.01);
    expect(rates[4 * STEPS_PER_EPOCH]).toBe(0.005);
  });

  it("that keeps an average has it measured and ends with it", async () => {
    const { id, weights, states, state } = await train(
      sessionWith({ optimizer: optim.sgd({ lr: 0.1 }), average: { decay: 0.9 } }),
    );
    expect(bits(states.average)).not.toEqual(bits(weights));
    const served = await request(`/api/sessions/${id}/weights/latest`);
    const body = new Uint8Array(await served.arrayBuffer());
    const ended = new Float32Array(body.slice(body.length - weights.byteLength).buffer);
    expect(bits(ended)).toEqual(bits(states.average));
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", states.average.slice().buffer));
    expect(Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")).toBe(state.bestHash);
  });
});

describe("a session is refused, with what is wrong,", () => {
  const refusal = async (definition: unknown): Promise<string> => {
    try {
      await createSession(definition as SessionDefinition);
    } catch (error) {
      return String(error);
    }
    return "created";
  };
  const valid = sessionWith({ optimizer: optim.adam() });

  it("for a group that no parameter is of, and for one that is not described", async () => {
    expect(await refusal({ ...valid, groups: { head: { lr: 1 } } })).toContain("groups.head: no parameter");
    const [first, ...others] = valid.graph.parameters;
    const graph = { ...valid.graph, parameters: [{ ...first, group: "head" }, ...others] };
    expect(await refusal({ ...valid, graph })).toContain("not described");
  });

  it("for a plateau of a figure that nobody measures", async () => {
    const plateau = schedule.reduceOnPlateau({ metric: "r2" });
    expect(await refusal({ ...valid, schedule: plateau })).toContain("schedule.metric: no figure r2");
  });

  it("for one-cycle's momentum where the optimizer has none", async () => {
    const definition = { ...valid, optimizer: optim.sgd({ lr: 1 }), schedule: schedule.oneCycle() };
    expect(await refusal(definition)).toContain("set cycleMomentum to false");
  });

  it("for an eps that float32 takes for zero, and a decay of one", async () => {
    expect(await refusal({ ...valid, optimizer: optim.adam({ eps: 1e-50 }) })).toContain("optimizer.eps");
    expect(await refusal({ ...valid, average: { decay: 1 } })).toContain("average.decay");
  });
});
