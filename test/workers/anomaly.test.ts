import { describe, expect, it } from "vitest";
import { magnitudeBits } from "../../shared/codec/index.ts";
import type { Progress } from "../../shared/protocol/messages.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { asAdmin, createSession, FakeClient, type FakeSample, request, takePart, tinySession } from "./fleet.ts";

interface Entry {
  readonly event: string;
  readonly detail: string;
}

const read = async <T>(path: string): Promise<T> => (await (await request(path)).json()) as T;

const progressOf = async (id: string): Promise<Progress> =>
  (await read<{ progress: Progress }>(`/api/sessions/${id}`)).progress;

const journalOf = async (id: string): Promise<Entry[]> =>
  (await read<{ events: Entry[] }>(`/api/sessions/${id}/journal`)).events.reverse();

const hashOf = async (id: string): Promise<string> =>
  (await read<{ result: { weightsHash: string } }>(`/api/sessions/${id}/metrics`)).result.weightsHash;

async function until(id: string, isTrue: (progress: Progress) => boolean): Promise<Progress> {
  for (let tries = 0; tries < 400; tries++) {
    const progress = await progressOf(id);
    if (isTrue(progress)) return progress;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`not within 10 s: ${JSON.stringify(await progressOf(id))}`);
}

async function calm(definition: SessionDefinition): Promise<string> {
  const id = await createSession(definition);
  await takePart(new FakeClient(id, definition));
  return hashOf(id);
}

const NOT_FINITE: FakeSample = { exponent: 255 };
const resume = (id: string) =>
  request(`/api/sessions/${id}/control`, asAdmin({ method: "POST", body: JSON.stringify({ action: "resume" }) }));

describe("a report of a gradient that is not finite", () => {
  it("of one client costs nothing but its lease, and the result is the same", async () => {
    const definition = tinySession();
    const id = await createSession(definition);
    const liar = new FakeClient(id, definition);
    const honest = new FakeClient(id, definition);
    // The liar comes first, so that its claims do, too.
    void takePart(liar, 0, () => NOT_FINITE).catch(() => {});
    await until(id, ({ clientCount }) => clientCount === 1);
    await takePart(honest);
    expect((await progressOf(id)).status).toBe("finished");
    expect(await hashOf(id)).toBe(await calm(definition));
    const events = (await journalOf(id)).map(({ event }) => event);
    expect(events).toContain("contradicted");
    expect(events.filter((event) => event !== "contradicted").at(-1)).toBe("trained");
  });

  it("pauses the session once a second client says so, which says why and can go on", async () => {
    const definition = tinySession();
    const id = await createSession(definition);
    let isBroken = true;
    const sampleOf = ({ step }: { step: number }): FakeSample => (isBroken && step === 4 ? NOT_FINITE : {});
    const clients = [new FakeClient(id, definition), new FakeClient(id, definition)];
    const parts = clients.map((client) => takePart(client, 0, sampleOf));
    const { status, reason, step } = await until(id, (progress) => progress.status === "paused");
    expect([status, step]).toEqual(["paused", 4]);
    expect(reason).toMatch(/^the gradient of \S+ is not finite at step 4, by 2 clients/);
    expect((await journalOf(id)).at(-1)).toMatchObject({ event: "paused", detail: reason });
    isBroken = false;
    expect((await resume(id)).status).toBe(200);
    await Promise.all(parts);
    expect(await hashOf(id)).toBe(await calm(definition));
  });

  it("by the only client pauses the session until somebody else is there", async () => {
    const definition = tinySession();
    const id = await createSession(definition);
    void takePart(new FakeClient(id, definition), 0, () => NOT_FINITE).catch(() => {});
    const { reason } = await until(id, ({ status }) => status === "paused");
    expect(reason).toMatch(/nobody else was there to confirm it$/);
    await takePart(new FakeClient(id, definition));
    expect((await progressOf(id)).status).toBe("finished");
    expect(await hashOf(id)).toBe(await calm(definition));
  });
});

describe("a loss that explodes", () => {
  it("pauses the session, and the stored checkpoint stays from before", async () => {
    const definition = { ...tinySession({ steps: 80 }), epochs: 60 };
    const id = await createSession(definition);
    const part = takePart(new FakeClient(id, definition), 0, ({ step }) => ({ loss: step < 40 ? 2 : 50 + step })).catch(
      () => {},
    );
    const { step, reason } = await until(id, ({ status }) => status === "paused");
    expect(step).toBe(48);
    expect(reason).toMatch(/^the loss explodes: 8 steps above 90\.0, 2\.00 is usual/);
    const { checkpointStep } = (await (await request(`/api/sessions/${id}/diagnostics`, asAdmin())).json()) as {
      checkpointStep: number;
    };
    expect(checkpointStep).toBeLessThanOrEqual(40);
    expect((await resume(id)).status).toBe(200);
    await part;
    expect((await progressOf(id)).status).toBe("finished");
  });
});

describe("a sum that is larger than its lease allows", () => {
  it.each(["fixed32", "fixed16"] as const)("is refused with %s, and nothing of it is added", async (codec) => {
    const definition = tinySession({ codec });
    const id = await createSession(definition);
    const liar = new FakeClient(id, definition);
    const bound = 2 ** magnitudeBits(codec, 6) - 1;
    let isFirst = true;
    void takePart(liar, 0, ({ work, from, to }) => {
      if (work !== "train" || !isFirst) return {};
      isFirst = false;
      return { firstSum: -(to - from) * bound - 1 };
    }).catch(() => {});
    await until(id, () => liar.closed !== null);
    expect(liar.error).toBe("bad-frame");
    await takePart(new FakeClient(id, definition));
    expect(await hashOf(id)).toBe(await calm(definition));
    expect((await journalOf(id)).find(({ event }) => event === "refused")?.detail).toBe("1 bad-frame");
  });
});
