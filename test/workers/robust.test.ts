/** Sessions that compare what clients sent before they use it: a step's rows, what of it survives, and what is refused. */

import { evictDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { defineSession, loss, nn, optim } from "../../shared/nn/index.ts";
import { isFrame } from "../../shared/protocol/messages.ts";
import type { Aggregation } from "../../shared/session/aggregation.ts";
import type { LocalData, SessionDefinition } from "../../shared/session/definition.ts";
import { asAdmin, createSession, FakeClient, fakeResult, request, stubOf, takePart, tinySession } from "./fleet.ts";

/** 6 micro-batches a step: at most 6 rows. */
const robust = (aggregation: Aggregation, more: Partial<SessionDefinition> = {}): SessionDefinition => ({
  ...tinySession(),
  ...more,
  aggregation,
});

const DEFINITIONS = {
  "the median": robust({ kind: "median", attackers: 2 }),
  "the trimmed mean of buckets": robust({ kind: "trimmedMean", attackers: 1, bucket: 2 }, { codec: "packed8" }),
  "centered clipping, whose centre is kept": robust({
    kind: "centeredClipping",
    attackers: 2,
    rounds: 2,
    momentum: 0.9,
  }),
};

interface Snapshot {
  readonly state: { readonly step: number; readonly version: number; readonly stage: string };
  readonly weights: Float32Array;
  readonly states: Readonly<Record<string, Float32Array>>;
}

const snapshotOf = async (id: string): Promise<Snapshot> => (await stubOf(id).snapshot()) as unknown as Snapshot;

const bits = ({ weights, states }: Snapshot) =>
  Object.fromEntries(
    Object.entries({ weights, ...states }).map(([name, values]) => [name, new Uint32Array(values.slice().buffer)]),
  );

/** Three clients answer one lease each in turn; after each step the object is evicted where `evicts`. */
async function train(definition: SessionDefinition, evicts: boolean): Promise<Snapshot> {
  const id = await createSession(definition);
  const clients = Array.from({ length: 3 }, () => new FakeClient(id, definition));
  for (const client of clients) {
    await client.connect();
    client.hello();
    const { client: name, resumeKey, version } = await client.ofType("welcome");
    client.identity = { client: name, resumeKey };
    client.send({ type: "ready", version });
  }
  let evicted = 0;
  const before: Snapshot[] = [];
  const evict = async (): Promise<void> => {
    const held = await snapshotOf(id);
    before.push(held);
    await evictDurableObject(stubOf(id), { webSockets: "hibernate" });
    const found = await snapshotOf(id);
    expect(found.state.step).toBe(held.state.step);
    expect(bits(found)).toEqual(bits(held));
  };
  // Nobody answers meanwhile: a lease that waits for long goes to whoever idles.
  let evicting: Promise<void> = Promise.resolve();
  const live = async (client: FakeClient): Promise<void> => {
    await takePartFrom(client, definition, async (step) => {
      await evicting;
      if (!evicts || evicted >= step) return;
      evicted = step;
      evicting = evict();
      await evicting;
    });
  };
  await Promise.all(clients.map(live));
  if (evicts) expect(before.length).toBeGreaterThan(5);
  return snapshotOf(id);
}

/** Goes on from a welcome that was read; `between` runs before the first lease of each training step is answered. */
async function takePartFrom(
  client: FakeClient,
  definition: SessionDefinition,
  between: (step: number) => Promise<void>,
): Promise<void> {
  while (client.closed === null || client.received.length > 0) {
    const message = client.received.shift();
    if (message === undefined) {
      if (client.closed !== null) return;
      await client.changed();
    } else if (message.type === "weights") {
      client.version = message.version;
      client.send({ type: "ready", version: message.version });
    } else if (message.type === "assign") {
      if (message.work === "train") await between(message.step);
      for (const frame of fakeResult(definition, message)) client.sendBytes(frame);
    }
  }
}

describe.each(Object.entries(DEFINITIONS))("a session by %s", (_, definition) => {
  it("trains to its end, evicted in every step, with each step's bits as they were before (I3)", async () => {
    const { state, weights, states } = await train(definition, true);
    expect(state).toMatchObject({ step: 10, stage: "done" });
    expect(weights.some((value) => value !== 0)).toBe(true);
    const keepsCenter = definition.aggregation?.kind === "centeredClipping";
    expect(Object.hasOwn(states, "center")).toBe(keepsCenter);
    if (keepsCenter) expect(states.center.some((value) => value !== 0)).toBe(true);
  });
});

/** Six clients with a micro-batch each, the first of which says that its gradients are not finite; until the session is over. */
async function trainWithFalseReport(definition: SessionDefinition): Promise<Snapshot & { readonly status: string }> {
  const id = await createSession(definition);
  const clients = Array.from({ length: 6 }, () => new FakeClient(id, definition));
  const [liar] = clients;
  const send = liar.sendBytes.bind(liar);
  liar.sendBytes = (bytes) => {
    // A made-up result says exponent 120 of each of its two blocks; 255 is that of what is not a number.
    const at = isFrame(bytes.slice().buffer)
      ? bytes.findIndex((byte, index) => byte === 120 && bytes[index + 1] === 120)
      : -1;
    if (at >= 0) bytes.fill(255, at, at + 2);
    send(bytes);
  };
  for (const client of clients) void takePart(client, 2);
  for (;;) {
    const { state, ...arrays } = (await stubOf(id).snapshot()) as unknown as Snapshot & { state: { status: string } };
    if (state.status !== "running") {
      for (const client of clients) client.drop();
      return { state, ...arrays, status: state.status };
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("a client that says its gradient is not finite", () => {
  it("does not end one that expects liars", async () => {
    const ended = await trainWithFalseReport(DEFINITIONS["the median"]);
    expect(ended).toMatchObject({ status: "finished", state: { step: 10, stage: "done" } });
  });
});

const create = (definition: unknown): Promise<Response> =>
  request("/api/sessions", asAdmin({ method: "POST", body: JSON.stringify(definition) }));

describe("a definition whose aggregation cannot be", () => {
  const refusals: readonly [what: string, definition: unknown, message: string][] = [
    ["is of no kind", { ...tinySession(), aggregation: { kind: "majority" } }, "aggregation.kind"],
    ["has a mean with liars", { ...tinySession(), aggregation: { kind: "mean", attackers: 2 } }, "aggregation"],
    ["expects no liar", robust({ kind: "median", attackers: 0 }), "aggregation.attackers"],
    ["expects half a liar", robust({ kind: "median", attackers: 0.5 }), "aggregation.attackers"],
    ["does not say how many", { ...tinySession(), aggregation: { kind: "median" } }, "aggregation.attackers"],
    ["clips to nothing", robust({ kind: "clippedMean", attackers: 1, radius: 0 }), "aggregation.radius"],
    ["forgets nothing", robust({ kind: "median", attackers: 1, momentum: 1 }), "aggregation.momentum"],
    ["goes round 11 times", robust({ kind: "centeredClipping", attackers: 1, rounds: 11 }), "aggregation.rounds"],
    ["trims to a radius", { ...tinySession(), aggregation: { kind: "median", attackers: 1, radius: 1 } }, "radius"],
    ["has too few rows", robust({ kind: "trimmedMean", attackers: 3 }), "needs 7 rows"],
    ["has too few buckets", robust({ kind: "median", attackers: 2, bucket: 2 }), "at most 3"],
    ["gets part of a gradient", robust({ kind: "median", attackers: 1 }, { codec: "sparse10" }), "whole gradients"],
  ];
  it.each(refusals)("%s: refused with the reason", async (_, definition, message) => {
    const response = await create(definition);
    const { error } = (await response.json()) as { error: { message: string } };
    expect(error.message).toContain(message);
    expect(response.status).toBe(400);
  });

  it("needs more memory than there is: refused with the figures", async () => {
    const definition = (microBatches: number): SessionDefinition => ({
      ...defineSession({
        title: "Wide",
        model: nn.sequential(nn.linear(30, 3_000), nn.relu(), nn.linear(3_000, 3)),
        input: [30],
        loss: loss.crossEntropy(),
        optimizer: optim.sgd({ lr: 1e-2 }),
        data: tinySession().data,
        batchSize: 4 * microBatches,
        microBatch: 4,
        epochs: 1,
      }),
      data: { ...(tinySession().data as LocalData), samplesPerEpoch: 4 * microBatches },
      aggregation: { kind: "median", attackers: 2 },
    });
    expect((await create(definition(100))).status).toBe(201);
    const response = await create(definition(1_000));
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    expect(error.code).toBe("limit-exceeded");
    expect(error.message).toContain("4 bytes for each of");
    expect(error.message).toContain("1000 micro-batches");
    expect(response.status).toBe(422);
  });
});

describe("what a robust session holds in memory", () => {
  it("is counted: its rows beside the optimizer", async () => {
    const id = await createSession(DEFINITIONS["the median"]);
    await snapshotOf(id);
    const { ledger } = (await (await request(`/api/sessions/${id}/diagnostics`, asAdmin())).json()) as {
      ledger: { accounts: Record<string, number> };
    };
    // 412 parameters in two blocks, by 6: sums, exponents and a slice of float64 each.
    expect(ledger.accounts.rows).toBe(6 * (412 * 4 + 2 + 512 * 8));
  });
});
