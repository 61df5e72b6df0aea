/**
 * A session whose writes fail for a while, as on a full disk: what is in memory never runs ahead of what is stored, clients come back by
 * themselves, and afterwards it ends with the bits of a training to which nothing happened.
 */

import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { asAdmin, createSession, FakeClient, request, stubOf, takePart, tinySession } from "./fleet.ts";

const definition = tinySession();
const FULL = "database or disk is full";
const TABLES = ["state", "log", "checkpoint", "journal", "usage", "incarnation", "metric"] as const;
type Table = (typeof TABLES)[number];
const WRITES = ["INSERT", "UPDATE", "DELETE"] as const;

/** From now on nothing can be written into these tables, whoever tries. */
async function fill(id: string, tables: readonly Table[] = TABLES): Promise<void> {
  await runInDurableObject(stubOf(id), (_, { storage }) => {
    for (const table of tables) {
      for (const write of WRITES) {
        const name = `full_${table}_${write}`;
        storage.sql.exec(
          `CREATE TRIGGER ${name} BEFORE ${write} ON ${table} BEGIN SELECT RAISE(ABORT, '${FULL}'); END`,
        );
      }
    }
  });
}

/** The object may be about to start again. */
async function free(id: string): Promise<void> {
  for (;;) {
    try {
      await runInDurableObject(stubOf(id), (_, { storage }) => {
        for (const { name } of storage.sql
          .exec<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'trigger'")
          .toArray()) {
          storage.sql.exec(`DROP TRIGGER ${name}`);
        }
      });
      return;
    } catch {
      await pause(10);
    }
  }
}

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Takes part however often its socket closes, until training is over. */
async function persist(client: FakeClient, onAssign: (step: number) => Promise<void> = async () => {}): Promise<void> {
  while (client.error !== "finished") {
    await takePart(client, 0, async ({ step }) => {
      await onAssign(step);
      return {};
    }).catch(() => {});
    await pause(20);
  }
}

interface Snapshot {
  readonly state: { readonly step: number; readonly status: string; readonly weightsHash: string | null };
}

async function snapshotOf(id: string): Promise<Snapshot> {
  for (;;) {
    const found = (await stubOf(id)
      .snapshot()
      .catch(() => null)) as unknown as Snapshot | null;
    if (found !== null) return found;
    await pause(10);
  }
}

const hashOf = async (id: string): Promise<string | null> => (await snapshotOf(id)).state.weightsHash;

const calm = (async () => {
  const id = await createSession(definition);
  await takePart(new FakeClient(id, definition));
  return hashOf(id);
})();

/** Trains alone up to the work of a step, which is left undone; leaves. */
async function workUpTo(id: string, step: number): Promise<void> {
  const client = new FakeClient(id, definition);
  const there = Promise.withResolvers<void>();
  void takePart(client, 0, async (assign) => {
    if (assign.step < step) return {};
    there.resolve();
    return new Promise(() => {});
  });
  await there.promise;
  client.drop();
}

describe("a session on a full disk", () => {
  it("has something to compare with", async () => {
    expect(await calm).toMatch(/^[0-9a-f]{64}$/);
  });

  it.each([["log"], ["state"], ["usage"], ["journal"]] as const)(
    "loses no step and does none twice where nothing can be written into %s while it trains",
    async (table) => {
      const id = await createSession(definition);
      let isFull = false;
      const onAssign = async (step: number): Promise<void> => {
        if (step !== 4 || isFull) return;
        isFull = true;
        await fill(id, [table]);
        setTimeout(() => void free(id), 200);
      };
      const clients = [new FakeClient(id, definition), new FakeClient(id, definition)];
      await Promise.all(clients.map((client) => persist(client, onAssign)));
      expect(isFull).toBe(true);
      expect(await hashOf(id)).toBe(await calm);
    },
  );

  it("goes on from what is stored after a checkpoint that could not be", async () => {
    const id = await createSession(definition);
    await workUpTo(id, 5);
    await fill(id, ["checkpoint"]);
    const response = await request(`/api/sessions/${id}/checkpoint`, asAdmin());
    expect(response.status).toBeGreaterThanOrEqual(500);
    await free(id);
    await workUpTo(id, 7);
    await evictDurableObject(stubOf(id), { webSockets: "close" });
    await persist(new FakeClient(id, definition));
    expect(await hashOf(id)).toBe(await calm);
  });

  it("is not paused where that could not be stored, and can be afterwards", async () => {
    const id = await createSession(definition);
    await workUpTo(id, 2);
    const control = (action: string) =>
      request(`/api/sessions/${id}/control`, asAdmin({ method: "POST", body: JSON.stringify({ action }) }));
    await fill(id);
    const refused = await control("pause");
    expect(refused.status).toBe(500);
    expect(await refused.text()).not.toContain(FULL);
    expect((await request(`/api/sessions/${id}`)).status).toBe(200);
    await free(id);
    expect((await snapshotOf(id)).state.status).toBe("running");
    expect((await control("pause")).status).toBe(200);
    expect((await control("resume")).status).toBe(200);
    await persist(new FakeClient(id, definition));
    expect(await hashOf(id)).toBe(await calm);
  });

  it("cuts whoever comes while it cannot wake, and holds no memory of that", async () => {
    const id = await createSession(definition);
    await workUpTo(id, 2);
    await fill(id);
    await evictDurableObject(stubOf(id), { webSockets: "close" });
    for (let time = 0; time < 5; time++) {
      const client = new FakeClient(id, definition);
      await client.connect().catch(() => {});
      client.hello();
      while (client.closed === null) await client.changed();
      expect(client.received).toEqual([]);
    }
    await free(id);
    await snapshotOf(id);
    const diagnostics = await request(`/api/sessions/${id}/diagnostics`, asAdmin());
    const { ledger } = (await diagnostics.json()) as {
      ledger: { accounts: Record<string, number>; peak: number };
    };
    expect(ledger.peak).toBe(ledger.accounts.kernels);
    await persist(new FakeClient(id, definition));
    expect(await hashOf(id)).toBe(await calm);
  });
});
