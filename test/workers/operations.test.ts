import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { describe, expect, it, vi } from "vitest";
import { KERNELS_BUILD } from "../../coordinator/optim/build.ts";
import { JOURNAL } from "../../coordinator/store/journal.ts";
import { SessionStore } from "../../coordinator/store/store.ts";
import { formatMetrics } from "../../workers/metrics.ts";
import {
  asAdmin,
  createSession,
  FakeClient,
  fakeResult,
  request,
  stubOf,
  takePart,
  testEnv,
  tinySession,
} from "./fleet.ts";

interface Entry {
  readonly time: number;
  readonly event: string;
  readonly detail: string;
}

const definition = tinySession();

const journalOf = async (id: string): Promise<Entry[]> =>
  ((await (await request(`/api/sessions/${id}/journal`)).json()) as { events: Entry[] }).events.reverse();

/** Works until `step` updates are done, and stays. */
async function workUpTo(id: string, step: number): Promise<FakeClient> {
  const client = new FakeClient(id, definition);
  await client.connect();
  client.hello();
  const { version } = await client.ofType("welcome");
  client.send({ type: "ready", version });
  for (;;) {
    const message = await client.next((next) => (next.type === "assign" || next.type === "weights" ? next : undefined));
    if (message.type === "weights") client.send({ type: "ready", version: message.version });
    else if (message.step >= step && message.work === "train") return client;
    else for (const frame of fakeResult(definition, message)) client.sendBytes(frame);
  }
}

describe("health", () => {
  it("is the Worker's alone, readiness needs the bucket and the secret", async () => {
    expect((await request("/healthz")).status).toBe(200);
    const ready = await request("/readyz");
    expect([ready.status, await ready.json()]).toEqual([200, { ok: true, checks: { bucket: true, secret: true } }]);
    const { readiness } = await import("../../workers/health.ts");
    const broken = {
      env: { BUCKET: { head: () => Promise.reject(new Error("no bucket")) }, ADMIN_SECRET: "" },
      json: (value: unknown, status: number) => Response.json(value, { status }),
    };
    const silent = vi.spyOn(console, "error").mockImplementation(() => {});
    const answer = await readiness(broken as never);
    expect([answer.status, await answer.json()]).toEqual([
      503,
      { ok: false, checks: { bucket: false, secret: false } },
    ]);
    expect(JSON.parse(String(silent.mock.calls[0]?.[0]))).toMatchObject({ level: "error", event: "bucket-failed" });
    silent.mockRestore();
  });
});

/** Samples by name and labels, after a look at the format: families together, a TYPE before each, nothing twice. */
function parseMetrics(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const families: string[] = [];
  for (const line of text.trimEnd().split("\n")) {
    const type = /^# TYPE (commonweight_[a-z_]+) (counter|gauge)$/.exec(line);
    if (type?.[1] !== undefined) {
      expect(families).not.toContain(type[1]);
      families.push(type[1]);
      if (type[2] === "counter") expect(type[1]).toMatch(/_total$/);
      continue;
    }
    if (/^# HELP commonweight_[a-z_]+ [^\n]+$/.test(line)) continue;
    const sample = /^(commonweight_[a-z_]+)((?:\{(?:[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*",?)+\})?) (\S+)$/.exec(line);
    expect(sample, line).not.toBeNull();
    expect(sample?.[1]).toBe(families.at(-1));
    const key = `${sample?.[1]}${sample?.[2]}`;
    expect(samples.has(key)).toBe(false);
    samples.set(key, Number(sample?.[3]));
  }
  return samples;
}

describe("/metrics", () => {
  it("is the admin's, and says what sessions count in the text format", async () => {
    expect((await request("/metrics")).status).toBe(401);
    const id = await createSession({ ...definition, title: 'a "title"\\with\nlines', visibility: "private" });
    const client = await workUpTo(id, 3);
    const response = await request("/metrics", asAdmin());
    expect(response.headers.get("Content-Type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const samples = parseMetrics(await response.text());
    expect(samples.get(`commonweight_session_step{session="${id}"}`)).toBe(3);
    expect(samples.get(`commonweight_session_clients{session="${id}"}`)).toBe(1);
    expect(
      samples.get(`commonweight_session_results_total{session="${id}",outcome="accepted"}`),
    ).toBeGreaterThanOrEqual(4);
    expect(samples.get(`commonweight_session_memory_limit_bytes{session="${id}"}`)).toBe(96_000_000);
    const info = [...samples.keys()].find((key) => key.startsWith(`commonweight_session_info{session="${id}"`));
    expect(info).toContain('title="a \\"title\\"\\\\with\\nlines"');
    client.drop();
  });

  it("shows public sessions to everyone where the deployment says so", async () => {
    const hidden = await createSession({ ...definition, visibility: "private" });
    const shown = await createSession(definition);
    const { metrics } = await import("../../workers/metrics.ts");
    const response = await metrics({ env: { ...testEnv, METRICS: "public" } } as never);
    const text = await response.text();
    expect(text).toContain(shown);
    expect(text).not.toContain(hidden);
  });

  it("writes what no number is as the format has it", () => {
    const figures = {
      id: "x",
      title: "",
      progress: { loss: Number.NEGATIVE_INFINITY, stage: "", status: "" },
      ledger: { accounts: {} },
      usage: {},
      live: null,
    };
    expect(formatMetrics([figures as never], {}, 0)).toContain('commonweight_session_loss{session="x"} -Inf\n');
  });
});

describe("the journal", () => {
  it("tells what happened in order, and of the end", async () => {
    const id = await createSession(definition);
    await takePart(new FakeClient(id, definition));
    const events = await journalOf(id);
    expect(events.map(({ event }) => event)).toEqual(["created", "started", "finished", "trained"]);
  });

  it("tells of a recovery with work under way, and keeps few of what comes often", async () => {
    const id = await createSession(definition);
    const client = await workUpTo(id, 3);
    for (let time = 0; time < JOURNAL.recovered + 3; time++) {
      await evictDurableObject(stubOf(id), { webSockets: "hibernate" });
      await stubOf(id).snapshot();
    }
    const recovered = (await journalOf(id)).filter(({ event }) => event === "recovered");
    expect(recovered).toHaveLength(JOURNAL.recovered);
    expect(recovered.at(-1)?.detail).toMatch(/: 3 steps replayed, 1 clients, 1 with a lease$/);
    client.drop();
  });

  it("is told of a flood of refusals at most every ten seconds", async () => {
    const id = await createSession(definition);
    for (let time = 0; time < 20; time++) {
      const client = new FakeClient(id, definition);
      await client.connect();
      client.sendBytes(Uint8Array.of(0xc1));
      while (client.closed === null) await client.changed();
    }
    const refused = (await journalOf(id)).filter(({ event }) => event === "refused");
    expect(refused).toHaveLength(1);
  });

  it("takes no more of an entry than there is room for", async () => {
    const id = await createSession(definition);
    await runInDurableObject(stubOf(id), (_, { storage }) => {
      const store = new SessionStore(storage);
      for (let time = 0; time < 300; time++) store.note(time, "paused", "x".repeat(10_000));
    });
    const paused = (await journalOf(id)).filter(({ event }) => event === "paused");
    expect(paused).toHaveLength(JOURNAL.paused);
    expect(paused.map(({ detail }) => detail.length)).toEqual(paused.map(() => 500));
  });
});

describe("a session whose log was written by another build of the kernels", () => {
  it("goes on with these, at a version of its own, and says so", async () => {
    const id = await createSession(definition);
    const client = await workUpTo(id, 5);
    const before = (await stubOf(id).snapshot()) as unknown as { state: { version: number }; weights: Float32Array };
    await runInDurableObject(stubOf(id), (_, { storage }) => {
      const heads = storage.sql
        .exec<{ place: number; data: ArrayBuffer }>("SELECT * FROM log WHERE place % 64 = 0")
        .toArray();
      expect(heads).toHaveLength(5);
      for (const { place, data } of heads) {
        const text = new TextDecoder("latin1").decode(data);
        const at = text.indexOf(KERNELS_BUILD);
        new Uint8Array(data).set(new TextEncoder().encode("0123456789abcdef"), at);
        storage.sql.exec("UPDATE log SET data = ? WHERE place = ?", data, place);
      }
    });
    await evictDurableObject(stubOf(id), { webSockets: "hibernate" });
    const after = (await stubOf(id).snapshot()) as unknown as typeof before;
    expect(after.state).toMatchObject({ step: 5, checkpointStep: 5, version: before.state.version + 1 });
    // Here both builds are the same.
    expect(after.weights).toEqual(before.weights);
    const entry = (await journalOf(id)).find(({ event }) => event === "kernels");
    expect(entry?.detail).toBe(`steps 0 to 5 were computed again: kernels 0123456789abcdef then, ${KERNELS_BUILD} now`);
    client.drop();
    await takePart(new FakeClient(id, definition));
    expect((await journalOf(id)).map(({ event }) => event)).toContain("finished");
  });
});

describe("a session whose database is full", () => {
  it("pauses at the limit, whole and readable, and goes on where there is room", async () => {
    const id = await createSession(definition);
    const { databaseBytes } = (await (await request(`/api/sessions/${id}/diagnostics`, asAdmin())).json()) as {
      databaseBytes: number;
    };
    const limitTo = (limit: number | undefined) =>
      runInDurableObject(stubOf(id), (instance) => {
        const { env } = instance as unknown as { env: { STORAGE_LIMIT_BYTES?: string } };
        if (limit === undefined) delete env.STORAGE_LIMIT_BYTES;
        else env.STORAGE_LIMIT_BYTES = String(limit);
      });
    await limitTo(databaseBytes + 12_000);
    const client = new FakeClient(id, definition);
    const part = takePart(client);
    let progress = { status: "", reason: "", step: 0 };
    await expect
      .poll(async () => {
        progress = ((await (await request(`/api/sessions/${id}`)).json()) as { progress: typeof progress }).progress;
        return progress.status;
      })
      .toBe("paused");
    expect(progress.step).toBeGreaterThan(0);
    expect(progress.reason).toMatch(/^the session's database has \d+ bytes, the limit is \d+/);
    const checkpoint = await request(`/api/sessions/${id}/checkpoint`, asAdmin());
    expect((await checkpoint.arrayBuffer()).byteLength).toBeGreaterThan(5_000);
    await limitTo(undefined);
    await evictDurableObject(stubOf(id), { webSockets: "hibernate" });
    await request(`/api/sessions/${id}/control`, asAdmin({ method: "POST", body: '{"action":"resume"}' }));
    await part;
    expect((await journalOf(id)).map(({ event }) => event)).toContain("finished");
  });
});
