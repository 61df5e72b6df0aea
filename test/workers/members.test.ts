import { evictDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type { Progress } from "../../shared/protocol/messages.ts";
import { asAdmin, createSession, FakeClient, fakeResult, request, stubOf, type TestEnv, tinySession } from "./fleet.ts";

const definition = tinySession({ steps: 2 });

/** A client that said hello with this name and is ready for work. */
async function join(id: string, name: string | undefined, identity: FakeClient["identity"] = null) {
  const client = new FakeClient(id, definition);
  client.identity = identity;
  await client.connect();
  const named = name === undefined ? {} : { name };
  client.send({ type: "hello", engine: "wasm", device: "fake", ...named, ...(identity ?? {}) });
  const welcome = await client.ofType("welcome");
  client.identity = { client: welcome.client, resumeKey: welcome.resumeKey };
  client.send({ type: "ready", version: welcome.version });
  return client;
}

/** Answers leases, one micro-batch each, up to the first one of this step, whose receipt it waits for. */
async function workUpTo(client: FakeClient, step: number): Promise<void> {
  client.send({ type: "capacity", microBatches: 1 });
  for (;;) {
    const message = await client.next((next) => (next.type === "progress" ? undefined : next));
    if (message.type === "weights") client.send({ type: "ready", version: message.version });
    if (message.type !== "assign") continue;
    for (const frame of fakeResult(definition, message)) client.sendBytes(frame);
    expect(await client.ofType("receipt")).toMatchObject({ accepted: true });
    if (message.step === step && message.work === "train") return;
  }
}

/** Answers leases until training is over. */
async function workToTheEnd(client: FakeClient): Promise<void> {
  for (;;) {
    const message = await client.next((next) => (["progress", "receipt"].includes(next.type) ? undefined : next));
    if (message.type === "error") return;
    if (message.type === "weights") client.send({ type: "ready", version: message.version });
    if (message.type === "assign") for (const frame of fakeResult(definition, message)) client.sendBytes(frame);
  }
}

interface Member {
  readonly name: string;
  readonly samples: number;
}

async function readResult(id: string) {
  return (await (await request(`/api/sessions/${id}/metrics`)).json()) as {
    steps: { samples: number; engines: Record<string, number> }[];
    result: { members: Member[] } | null;
  };
}

const namesOf = ({ clients }: Progress): string[] => clients.map(({ name }) => name);

describe("names", () => {
  it("are shown in progress and in the result, cleaned, and kept by those who come back", async () => {
    const id = await createSession(definition);
    const first = await join(id, "  Ada\u202E \u0007Lovelace ".padEnd(190, "!"));
    const shown = `Ada Lovelace ${"!".repeat(27)}`;
    const progress = await first.next((message) =>
      message.type === "progress" && message.clients.length > 0 ? message : undefined,
    );
    expect(namesOf(progress)).toEqual([shown]);
    await workUpTo(first, 0); // calibration is durable
    first.drop();
    const again = await join(id, undefined, first.identity);
    await workToTheEnd(again);
    expect((await readResult(id)).result?.members).toMatchObject([{ name: shown }]);
  });

  it("survive a sleep of the session's object, and are empty for those who chose none", async () => {
    const id = await createSession(definition);
    await join(id, "Grace");
    await evictDurableObject(stubOf(id), { webSockets: "hibernate" });
    const other = await join(id, undefined);
    const progress = await other.next((message) =>
      message.type === "progress" && message.clients.length === 2 ? message : undefined,
    );
    expect(namesOf(progress).sort()).toEqual(["", "Grace"]);
  });

  it("are credited in a session that was stopped, which has no final weights", async () => {
    const id = await createSession(definition);
    const client = await join(id, "Ada");
    await workUpTo(client, 1); // so the first step is durable
    expect((await readResult(id)).result).toBeNull();
    await request(`/api/sessions/${id}/control`, asAdmin({ method: "POST", body: '{"action":"stop"}' }));
    expect((await readResult(id)).result).toMatchObject({
      weightsHash: null,
      bestHash: null,
      members: [{ name: "Ada" }],
    });
  });

  it("taken back by an empty name are gone", async () => {
    const id = await createSession(definition);
    const named = await join(id, "Ada");
    await workUpTo(named, 0);
    named.drop();
    await workToTheEnd(await join(id, "", named.identity));
    expect((await readResult(id)).result?.members).toMatchObject([{ name: "" }]);
  });
});

describe("a client that asks to be forgotten", () => {
  it("is no member any more, and its samples stay in the totals under no one", async () => {
    const id = await createSession(definition);
    const leaving = await join(id, "Ada");
    // Calibration, the whole first step, and a part of the second one, which is open when it asks.
    await workUpTo(leaving, 1);
    expect((await diagnostics(id)).members).toMatchObject([{ name: "Ada" }]);

    leaving.send({ type: "forget" });
    await leaving.ofType("forgotten");
    while (leaving.closed === null) await leaving.changed();
    expect(leaving.closed.code).toBe(1000);
    expect((await diagnostics(id)).members).toEqual([]);

    const staying = await join(id, "Grace");
    await workToTheEnd(staying);
    const { steps, result } = await readResult(id);
    expect(result?.members.map(({ name }) => name)).toEqual(["Grace"]);
    expect(steps.map(({ samples }) => samples)).toEqual([24, 24]);
    expect(steps.map(({ engines }) => engines)).toEqual([{ wasm: 24 }, { wasm: 24 }]);
    expect(result?.members[0]?.samples).toBeLessThan(48);
  });

  it("hands its lease to the others, and its identity is free", async () => {
    const id = await createSession(definition);
    const leaving = await join(id, "Ada");
    await leaving.ofType("assign");
    leaving.send({ type: "forget" });
    await leaving.ofType("forgotten");
    // Another key for the same id: nobody remembers the old one.
    const identity = { client: leaving.identity!.client, resumeKey: "e".repeat(32) };
    await workToTheEnd(await join(id, "Grace", identity));
    expect((await readResult(id)).result?.members.map(({ name }) => name)).toEqual(["Grace"]);
  });
});

async function diagnostics(id: string): Promise<{ members: Member[] }> {
  const headers = { Authorization: `Bearer ${(env as unknown as TestEnv).ADMIN_SECRET}` };
  return (await (await request(`/api/sessions/${id}/diagnostics`, { headers })).json()) as { members: Member[] };
}
