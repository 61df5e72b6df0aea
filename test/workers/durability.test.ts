import { evictDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { createSession, FakeClient, fakeResult, stubOf, tinySession } from "./fleet.ts";

const CLIENTS = 3;
/**
 * One where everything travels and is logged as it is; and one whose sums are packed on the way up and packed in the log, and
 * whose weights come down as changes.
 */
const DEFINITIONS = { fixed32: tinySession(), packed8: tinySession({ codec: "packed8", downlink: "delta" }) };

interface Snapshot {
  readonly state: {
    readonly step: number;
    readonly version: number;
    readonly stage: string;
    readonly weightsHash: string | null;
  };
  readonly weights: Float32Array;
  readonly states: Readonly<Record<string, Float32Array>>;
}

const snapshotOf = async (id: string): Promise<Snapshot> => (await stubOf(id).snapshot()) as unknown as Snapshot;

/** Float arrays as bits: equal only if every bit is. */
const bits = ({ state, weights, states }: Snapshot) => ({
  step: state.step,
  version: state.version,
  stage: state.stage,
  weights: new Uint32Array(weights.slice().buffer),
  states: Object.entries(states).map(([name, values]) => [name, new Uint32Array(values.slice().buffer)]),
});

/** The state once everything that was sent has been taken in: the same twice in a row. */
async function settledSnapshot(id: string): Promise<ReturnType<typeof bits>> {
  let last = bits(await snapshotOf(id));
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 15));
    const next = bits(await snapshotOf(id));
    if (next.version === last.version && next.stage === last.stage) return next;
    last = next;
  }
}

/**
 * Trains with three scripted clients. Every answer of a client is one event; at event `at` the object is evicted, and what
 * comes back is compared with what was there.
 */
async function train(
  definition: SessionDefinition,
  at: number | null,
  webSockets: "hibernate" | "close",
): Promise<{ events: number; end: Snapshot }> {
  const id = await createSession(definition);
  const clients = Array.from({ length: CLIENTS }, () => new FakeClient(id, definition));
  let events = 0;
  for (const client of clients) {
    await client.connect();
    client.hello();
  }

  // One event at a time: while the object is evicted, nobody else says anything.
  let queue: Promise<void> = Promise.resolve();
  const event = (client: FakeClient, act: () => void): Promise<void> => {
    queue = queue.then(async () => {
      if (events++ === at) {
        const before = await settledSnapshot(id);
        await evictDurableObject(stubOf(id), { webSockets });
        expect(bits(await snapshotOf(id)), `evicted at event ${at}`).toEqual(before);
      }
      // Whoever answers last need not be the first to hear that it is over.
      if (client.closed === null) act();
    });
    return queue;
  };

  let over = false;
  const live = async (client: FakeClient): Promise<void> => {
    while (!over) {
      const message = client.received.shift();
      if (message === undefined) {
        if (client.closed !== null) {
          if (client.closed.reason === "finished") return;
          await client.connect();
          client.hello();
          continue;
        }
        await client.changed();
        continue;
      }
      if (message.type === "welcome") {
        client.identity = { client: message.client, resumeKey: message.resumeKey };
        expect(message.version).toBeGreaterThanOrEqual(client.version);
        client.version = message.version;
        await event(client, () => client.send({ type: "ready", version: message.version }));
      } else if (message.type === "weights") {
        expect(message.version).toBeGreaterThan(client.version);
        client.version = message.version;
        await event(client, () => client.send({ type: "ready", version: message.version }));
      } else if (message.type === "assign") {
        await event(client, () => {
          for (const frame of fakeResult(definition, message)) client.sendBytes(frame);
        });
      } else if (message.type === "error" && message.code === "finished") over = true;
    }
  };
  await Promise.all(clients.map(live));
  return { events, end: await snapshotOf(id) };
}

describe.each(Object.entries(DEFINITIONS))(
  "a coordinator that is evicted at any event (I3), sums in %s",
  (_, definition) => {
    const undisturbed = train(definition, null, "hibernate");

    it("has an undisturbed run to compare with: 10 steps by 3 clients", async () => {
      const { events, end } = await undisturbed;
      expect(end.state).toMatchObject({ step: 10, stage: "done" });
      expect(events).toBeGreaterThan(40);
      expect(end.weights.some((value) => value !== 0)).toBe(true);
    });

    for (const webSockets of ["hibernate", "close"] as const) {
      // As many as any run of this size has; later ones find the run over and evict nothing.
      for (let at = 0; at < 72; at++) {
        it.concurrent(`recovers weights, moments, step and version bit for bit at event ${at}, sockets ${webSockets}`, async () => {
          const { end } = await undisturbed;
          const disturbed = await train(definition, at, webSockets);
          expect(bits(disturbed.end)).toMatchObject({
            step: 10,
            weights: bits(end).weights,
            states: bits(end).states,
          });
          expect(disturbed.end.state.weightsHash).toBe(end.state.weightsHash);
        });
      }
    }
  },
);
