import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { costOf, type SessionCost } from "../../shared/session/cost.ts";
import { createSession, FakeClient, request, stubOf, takePart, testEnv, tinySession } from "./fleet.ts";

const STEPS = 10;

/** What the session says of itself, and what the call added to it. */
async function readCost(id: string): Promise<SessionCost> {
  const response = await request(`/api/sessions/${id}`);
  return ((await response.json()) as { cost: SessionCost }).cost;
}

/** Counts the rows of every statement that any object runs from here on, whoever runs it. */
async function countRows(): Promise<{ read: () => number; written: () => number; stop: () => void }> {
  const cursors: SqlStorageCursor<never>[] = [];
  const prototype = await runInDurableObject(testEnv.SESSION.get(testEnv.SESSION.newUniqueId()), (_, { storage }) =>
    Object.getPrototypeOf(storage.sql),
  );
  const original = prototype.exec as (...values: unknown[]) => SqlStorageCursor<never>;
  prototype.exec = function (...values: unknown[]) {
    const cursor = original.apply(this, values);
    cursors.push(cursor);
    return cursor;
  };
  const sum = (of: "rowsRead" | "rowsWritten"): number => cursors.reduce((total, cursor) => total + cursor[of], 0);
  return {
    read: () => sum("rowsRead"),
    written: () => sum("rowsWritten"),
    stop: () => {
      prototype.exec = original;
    },
  };
}

describe("a session's cost", () => {
  it("counts the messages that clients sent and the rows that SQLite read and wrote, across a sleep", async () => {
    const rows = await countRows();
    const definition = tinySession({ steps: STEPS });
    const before = performance.now();
    const id = await createSession(definition);
    const clients = [new FakeClient(id, definition), new FakeClient(id, definition)];
    await Promise.all(clients.map((client) => takePart(client)));
    expect(clients.map(({ closed }) => closed?.reason)).toEqual(["finished", "finished"]);
    const { usage, dollars } = await readCost(id);
    const seconds = (performance.now() - before) / 1000;
    expect(usage.messages).toBe(clients.reduce((sum, { sent }) => sum + sent, 0));
    expect(usage.messages).toBeGreaterThan(2 * STEPS);
    // Setting and deleting alarms are rows, too, and no statements.
    const alarms = usage.rowsWritten - rows.written();
    expect(alarms).toBeGreaterThanOrEqual(0);
    expect(alarms).toBeLessThan(10);
    expect(usage.rowsRead).toBe(rows.read());
    // Created, two sockets, and this question.
    expect(usage.requests).toBe(4);
    expect(usage.activeSeconds).toBeGreaterThan(0.9);
    expect(usage.activeSeconds).toBeLessThan(seconds + 4);
    expect(usage.r2Writes).toBeGreaterThanOrEqual(2);
    expect(usage.storedBytes).toBeGreaterThan(4096);
    expect(dollars).toBeGreaterThan(0);
    console.log(
      `${STEPS} steps, 2 clients: ${usage.messages} messages, ${usage.rowsWritten} rows written, ${usage.rowsRead} read`,
    );

    // Only the question was not written down with anything.
    await evictDurableObject(stubOf(id));
    const after = (await readCost(id)).usage;
    expect(after.messages).toBe(usage.messages);
    expect(after.rowsWritten).toBeGreaterThanOrEqual(usage.rowsWritten - alarms);
    expect(after.requests).toBe(4);
    rows.stop();
  });

  it("keeps counts of a session that is only asked, once there are many", async () => {
    const id = await createSession(tinySession());
    for (let count = 0; count < 300; count++) await stubOf(id).describe();
    await evictDurableObject(stubOf(id));
    expect((await readCost(id)).usage.requests).toBeGreaterThanOrEqual(256);
  });

  it("counts chunks of the data set that its clients read", async () => {
    const id = await createSession(tinySession());
    await stubOf(id).countReads(5);
    expect((await readCost(id)).usage.r2Reads).toBe(5);
    // Nothing else may be written for long: the last of them are reported when a short session is over.
    await evictDurableObject(stubOf(id));
    expect((await readCost(id)).usage.r2Reads).toBe(5);
  });
});

describe("prices", () => {
  const nothing = {
    requests: 0,
    messages: 0,
    rowsRead: 0,
    rowsWritten: 0,
    activeSeconds: 0,
    r2Writes: 0,
    r2Reads: 0,
    storedBytes: 0,
    age: 0,
  };

  it("are Cloudflare's: an hour awake is 450 GB-s, and 20 messages are a request", () => {
    const hour = costOf({ ...nothing, activeSeconds: 3600 });
    expect(hour.parts.duration).toMatchObject({ units: 450 });
    expect(hour.dollars).toBeCloseTo(0.005625, 9);
    expect(costOf({ ...nothing, messages: 20e6 }).dollars).toBeCloseTo(0.15, 9);
    expect(costOf({ ...nothing, rowsWritten: 1e6 }).dollars).toBeCloseTo(1, 9);
    expect(costOf({ ...nothing, rowsRead: 1e9 }).dollars).toBeCloseTo(1, 9);
    expect(costOf({ ...nothing, storedBytes: 1e9, age: 30 * 24 * 3600 }).dollars).toBeCloseTo(0.2, 9);
  });

  it("compare with a free day by whatever runs out first", () => {
    const cost = costOf({ ...nothing, activeSeconds: 3600, rowsWritten: 50_000 });
    expect(cost.freeDailyShare).toBe(0.5);
    expect(cost.parts.duration.freeDailyShare).toBeCloseTo(450 / 13_000, 9);
    expect(cost.parts.storage.freeDailyShare).toBeNull();
  });
});
