import { evictDurableObject } from "cloudflare:test";
import { beforeAll, describe, expect, it } from "vitest";
import { dataset, defineSession, loss, nn, optim } from "../../shared/nn/index.ts";
import type { Audits } from "../../shared/session/audits.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import {
  type Assign,
  asAdmin,
  createSession,
  FakeClient,
  type FakeSample,
  request,
  stubOf,
  takePart,
} from "./fleet.ts";
import { HELD_OUT, pushHeldOut, TRAIN } from "./held-out.ts";

const STEPS = 12;

/** Steps of 4 micro-batches, which `fakeResult` takes to be of 4 samples. */
const sessionWith = (audits: Audits | "off", options: { readonly isHeldOut?: boolean } = {}): SessionDefinition =>
  defineSession({
    title: "Audited",
    model: nn.sequential(nn.linear(1, 2)),
    input: [1],
    loss: loss.crossEntropy(),
    optimizer: optim.adam({ lr: 0.01 }),
    data: dataset("held-out", {
      x: "x",
      y: "y",
      train: [0, TRAIN],
      ...(options.isHeldOut ? { validation: [TRAIN, TRAIN + HELD_OUT] } : {}),
    }),
    batchSize: TRAIN,
    microBatch: 4,
    epochs: 100,
    maxSteps: STEPS,
    audits,
  });

const isOff = sessionWith("off");

interface Diagnostics {
  readonly journal: readonly { readonly event: string; readonly detail: string }[];
  readonly members: readonly { readonly id: string; readonly samples: number; readonly repeated: number }[];
  readonly audits: { readonly opened: number; readonly agreed: number; readonly banned: number } | null;
}

async function diagnosticsOf(id: string): Promise<Diagnostics> {
  return (await (await request(`/api/sessions/${id}/diagnostics`, asAdmin())).json()) as Diagnostics;
}

async function weightsOf(id: string): Promise<{ step: number; weights: Float32Array; stage: string; version: number }> {
  const { state, weights } = (await stubOf(id).snapshot()) as unknown as {
    state: { step: number; stage: string; version: number };
    weights: Float32Array;
  };
  return { step: state.step, stage: state.stage, version: state.version, weights: weights.slice() };
}

/** The record of every step, but for its time. */
async function stepsOf(id: string): Promise<readonly unknown[]> {
  const { steps } = (await (await request(`/api/sessions/${id}/metrics?after=0`)).json()) as {
    steps: readonly { time: number }[];
  };
  return steps.map(({ time: _, ...step }) => step);
}

/** Gradients of other steps are of other sizes, so that the grid moves. */
const right = ({ step }: Assign): FakeSample => ({ exponent: 120 + (step % 4) });

type Habit = (assign: Assign) => FakeSample;

/** Trains to the end with one honest client at each of these addresses, and others with habits of theirs. */
async function train(
  definition: SessionDefinition,
  honest: readonly string[],
  others: readonly { readonly address: string; readonly habit: Habit }[] = [],
) {
  const id = await createSession(definition);
  const clients = honest.map((address) => new FakeClient(id, definition, address));
  const liars = others.map(({ address }, index) => {
    const liar = new FakeClient(id, definition, address);
    liar.identity = { client: `${index}`.padStart(32, "a"), resumeKey: "b".repeat(32) };
    return liar;
  });
  await Promise.all([
    ...clients.map((client) => takePart(client, 2, right)),
    ...liars.map((client, index) =>
      takePart(client, 2, (assign) => ({ ...right(assign), ...others[index].habit(assign) })),
    ),
  ]);
  return { ...(await diagnosticsOf(id)), ...(await weightsOf(id)), id, steps: await stepsOf(id), clients, liars };
}

const BLOCKS = ["10.0.1.7", "10.0.2.7", "10.0.3.7"];
const double = (sums: Int32Array): Int32Array => sums.map((value) => value * 2);
const zero = (sums: Int32Array): Int32Array => sums.map(() => 0);

describe("audits by re-computation", () => {
  beforeAll(pushHeldOut);

  it("compare what clients of different blocks compute, and change nothing about what is trained", async () => {
    const calm = await train(isOff, ["10.0.1.7"]);
    const audited = await train(sessionWith({ newcomers: 3, rate: 0.5 }), BLOCKS);
    expect(audited.weights).toEqual(calm.weights);
    expect(audited.steps).toEqual(calm.steps);
    expect(audited.audits?.agreed).toBeGreaterThan(10);
    expect(audited.audits?.agreed).toBe(audited.audits?.opened);
    // Each sample counts once, whoever did it again.
    const once = audited.members.reduce((sum, { samples, repeated }) => sum + samples - repeated, 0);
    expect(once).toBe(calm.members.reduce((sum, { samples }) => sum + samples, 0));
    expect(audited.members.some(({ repeated }) => repeated > 0)).toBe(true);
  });

  it("compare nothing where all are of one block, where the session says so, and of volunteers' own data", async () => {
    const near = await train(sessionWith({ newcomers: 3, rate: 0.5 }), ["10.0.1.7", "10.0.1.8", "10.0.1.9"]);
    expect(near.audits).toMatchObject({ opened: 0 });
    const off = await train(isOff, BLOCKS);
    expect(off.audits).toBeNull();
  });

  it("ban a newcomer whose first results are wrong, and train as if it had never been there", async () => {
    const calm = await train(isOff, ["10.0.1.7"]);
    const found = await train(sessionWith({ newcomers: 3, rate: 0.2 }), BLOCKS, [
      { address: "10.0.9.9", habit: () => ({ lie: zero }) },
    ]);
    expect(found.liars[0].error).toBe("banned");
    expect(found.liars[0].closed?.code).toBe(4406);
    expect(found.clients.map(({ error }) => error)).toEqual(["finished", "finished", "finished"]);
    expect(found.weights).toEqual(calm.weights);
    expect(found.steps).toEqual(calm.steps);
    expect(found.members.map(({ id }) => id)).not.toContain(found.liars[0].identity?.client);
    expect(found.journal.map(({ event }) => event)).toContain("banned");
  });

  it("take back the steps that a sleeper has spoilt since its last result that was compared", async () => {
    const calm = await train(isOff, ["10.0.1.7"]);
    const rolled: boolean[] = [];
    for (let run = 0; run < 6; run++) {
      const found = await train(sessionWith({ newcomers: 1, rate: 0.1 }), BLOCKS, [
        { address: "10.0.9.9", habit: ({ step }) => (step >= 3 ? { lie: double } : {}) },
      ]);
      if (found.liars[0].error !== "banned") continue;
      expect(found.weights).toEqual(calm.weights);
      expect(found.steps).toEqual(calm.steps);
      rolled.push(found.journal.some(({ event }) => event === "rolled back"));
      expect(found.version).toBeGreaterThanOrEqual(calm.version);
    }
    expect(rolled).toContain(true);
  });

  it("refuse a banned identity, also after the coordinator was evicted", async () => {
    const definition = sessionWith({ newcomers: 3, rate: 0.2 });
    const { id, liars } = await train(definition, BLOCKS, [{ address: "10.0.9.9", habit: () => ({ lie: zero }) }]);
    await evictDurableObject(stubOf(id), { webSockets: "close" });
    const again = new FakeClient(id, definition, "10.0.50.1");
    again.identity = liars[0].identity;
    await takePart(again);
    expect(again.error).toBe("banned");
  });

  it("find a lie about held-out samples before it can make other weights the best", async () => {
    const found = await train(sessionWith({ newcomers: 100, rate: 0.2 }, { isHeldOut: true }), BLOCKS, [
      { address: "10.0.9.9", habit: ({ work }) => (work === "validate" ? { loss: 0.5 } : {}) },
    ]);
    expect(found.liars[0].error).toBe("banned");
    const { evaluations } = (await (await request(`/api/sessions/${found.id}/metrics?after=0`)).json()) as {
      evaluations: readonly { loss: number }[];
    };
    for (const { loss } of evaluations) expect(loss).toBe(2);
  });
});
