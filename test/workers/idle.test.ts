import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import type { SessionEnv } from "../../coordinator/session/env.ts";
import { asAdmin, createSession, FakeClient, request, stubOf, takePart, tinySession } from "./fleet.ts";

const definition = tinySession();
const DAY = 24 * 3600 * 1000;

const alarmOf = (id: string): Promise<number | null> =>
  runInDurableObject(stubOf(id), (_, { storage }) => storage.getAlarm());

const control = (id: string, action: string): Promise<Response> =>
  request(`/api/sessions/${id}/control`, asAdmin({ method: "POST", body: JSON.stringify({ action }) }));

async function progressOf(id: string): Promise<{ status: string; step: number; clientCount: number }> {
  const response = await request(`/api/sessions/${id}`);
  return ((await response.json()) as { progress: { status: string; step: number; clientCount: number } }).progress;
}

async function until(claim: () => Promise<boolean>): Promise<void> {
  while (!(await claim())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Counts the timers that are set and neither cleared nor due, of whatever runs in this isolate from here on. */
function countTimers(): { pending: () => number; stop: () => void } {
  const { setTimeout: set, clearTimeout: clear } = globalThis;
  const pending = new Set<unknown>();
  globalThis.setTimeout = ((callback: () => void, wait: number) => {
    const timer = set(() => {
      pending.delete(timer);
      callback();
    }, wait);
    pending.add(timer);
    return timer;
  }) as typeof setTimeout;
  globalThis.clearTimeout = ((timer: never) => {
    pending.delete(timer);
    clear(timer);
  }) as typeof clearTimeout;
  return {
    pending: () => pending.size,
    stop: () => Object.assign(globalThis, { setTimeout: set, clearTimeout: clear }),
  };
}

/** A client that joined and holds a lease which it will never answer. */
async function idler(id: string): Promise<FakeClient> {
  const client = new FakeClient(id, definition);
  await client.connect();
  client.hello();
  const { version } = await client.ofType("welcome");
  client.send({ type: "ready", version });
  await client.ofType("assign");
  return client;
}

describe("a session that nobody is in", () => {
  it("holds an alarm for a lease, and no alarm and no timer once everyone has left; later it goes on", async () => {
    const id = await createSession(definition);
    const timers = countTimers();
    const clients = [await idler(id), await idler(id)];
    expect((await alarmOf(id)) !== null || timers.pending() > 0).toBe(true);
    for (const client of clients) client.drop();
    await until(async () => (await progressOf(id)).clientCount === 0);
    expect(await alarmOf(id)).toBeNull();
    expect(timers.pending()).toBe(0);
    timers.stop();

    // Without an alarm there is nothing that could wake it.
    expect(await runDurableObjectAlarm(stubOf(id))).toBe(false);
    await evictDurableObject(stubOf(id));
    expect(await progressOf(id)).toMatchObject({ status: "waiting", step: 0, clientCount: 0 });
    const late = new FakeClient(id, definition);
    await takePart(late);
    expect(late.closed?.reason).toBe("finished");
  });

  it("that slept with its sockets open gives up its alarm, too, when they close", async () => {
    const id = await createSession(definition);
    const client = await idler(id);
    const due = await alarmOf(id);
    await evictDurableObject(stubOf(id));
    client.drop();
    await until(async () => (await progressOf(id)).clientCount === 0 && (await alarmOf(id)) === null);
    // Not because it rang.
    expect(Date.now()).toBeLessThan(due ?? 0);
  });

  it("that is over holds neither, however it ended", async () => {
    const timers = countTimers();
    const finished = await createSession(definition);
    await takePart(new FakeClient(finished, definition));
    const stopped = await createSession(definition);
    await idler(stopped);
    await control(stopped, "stop");
    for (const id of [finished, stopped]) expect(await alarmOf(id)).toBeNull();
    expect(timers.pending()).toBe(0);
    timers.stop();
  });
});

it("brings the hash of trained weights when it is asked for, if the object died between the last step and it", async () => {
  const id = await createSession(definition);
  await takePart(new FakeClient(id, definition));
  const hashOf = async (): Promise<string | null> => {
    const reply = await request(`/api/sessions/${id}/metrics`);
    return ((await reply.json()) as { result: { weightsHash: string | null } }).result.weightsHash;
  };
  const hash = await hashOf();
  expect(hash).toMatch(/^[0-9a-f]{64}$/);
  await runInDurableObject(stubOf(id), (_, { storage }) => {
    storage.sql.exec("UPDATE state SET weights_hash = NULL");
  });
  await evictDurableObject(stubOf(id));
  expect(await Promise.all([hashOf(), hashOf()])).toEqual([hash, hash]);
  // Whoever asks while it is being computed waits for the same one.
  const { events } = (await (await request(`/api/sessions/${id}/journal`)).json()) as { events: { event: string }[] };
  expect(events.filter(({ event }) => event === "trained")).toHaveLength(2);
});

describe("retention", () => {
  /** Sets the deployment's variable for one session's object; null keeps sessions for ever. */
  const setRetention = (id: string, days: string | undefined): Promise<void> =>
    runInDurableObject(stubOf(id), (instance) => {
      const held = instance as unknown as { env: Record<keyof SessionEnv, unknown> };
      held.env = { ...held.env, RETENTION_DAYS: days };
    });

  const listed = async (id: string): Promise<boolean> => {
    const { sessions } = (await (await request("/api/sessions")).json()) as { sessions: { id: string }[] };
    return sessions.some((session) => session.id === id);
  };

  it("deletes a finished session, its entry in the list and its storage when its days are over", async () => {
    const id = await createSession(definition);
    await setRetention(id, "2");
    await takePart(new FakeClient(id, definition));
    const due = await alarmOf(id);
    expect(Math.abs((due ?? 0) - (Date.now() + 2 * DAY))).toBeLessThan(60_000);

    // Too early: the alarm is set again, and everything is there.
    expect(await runDurableObjectAlarm(stubOf(id))).toBe(true);
    expect(await progressOf(id)).toMatchObject({ status: "finished" });
    expect(await alarmOf(id)).toBe(due);

    await setRetention(id, "0.0000001");
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await listed(id)).toBe(true);
    expect(await runDurableObjectAlarm(stubOf(id))).toBe(true);
    expect((await request(`/api/sessions/${id}`)).status).toBe(404);
    expect(await listed(id)).toBe(false);
    expect(await alarmOf(id)).toBeNull();
    const tables = await runInDurableObject(stubOf(id), (_, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'").toArray(),
    );
    expect(tables).toEqual([]);
  });

  it("is for sessions that were stopped as well, and for no others", async () => {
    const id = await createSession(definition);
    await setRetention(id, "1");
    const client = await idler(id);
    client.drop();
    await until(async () => (await progressOf(id)).clientCount === 0);
    expect(await alarmOf(id)).toBeNull();
    await control(id, "stop");
    expect(await alarmOf(id)).toBeGreaterThan(Date.now());
  });

  it("keeps everything for ever where the variable is missing or makes no sense", async () => {
    for (const days of [undefined, "", "0", "-1", "soon"]) {
      const id = await createSession(definition);
      await setRetention(id, days);
      await control(id, "stop");
      expect(await alarmOf(id), `RETENTION_DAYS=${days}`).toBeNull();
    }
  });
});
