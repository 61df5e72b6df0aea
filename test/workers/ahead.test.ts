import { runDurableObjectAlarm } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { createSession, FakeClient, fakeResult, stubOf, tinySession } from "./fleet.ts";

const definition = tinySession();

/** Where the work of step 0 is among what a client has not read yet; −1 if it was given none. */
const trainingAt = ({ received }: FakeClient): number =>
  received.findIndex((message) => message.type === "assign" && message.work === "train");

/** Two clients that calibrate, and read nothing after that. */
async function calibrated(): Promise<{ id: string; clients: readonly FakeClient[] }> {
  const id = await createSession(definition);
  const clients = [new FakeClient(id, definition), new FakeClient(id, definition)];
  for (const client of clients) {
    await client.connect();
    client.hello();
    const { version } = await client.ofType("welcome");
    client.send({ type: "ready", version });
  }
  while (clients.every((client) => trainingAt(client) < 0)) {
    for (const client of clients) {
      const at = client.received.findIndex(({ type }) => type === "assign");
      const [assign] = at < 0 ? [] : client.received.splice(at, 1);
      if (assign?.type === "assign") for (const frame of fakeResult(definition, assign)) client.sendBytes(frame);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return { id, clients };
}

describe("the work of a new version", () => {
  it("comes before its weights, to everybody, and nobody has to say ready for it", async () => {
    const { clients } = await calibrated();
    for (const client of clients) {
      const weightsAt = (): number => client.received.findIndex(({ type }) => type === "weights");
      while (weightsAt() < 0) await client.changed();
      expect(client.received[trainingAt(client)]).toMatchObject({ step: 0, version: 2 });
      expect(trainingAt(client)).toBeLessThan(weightsAt());
    }
  });

  it("is waited for no longer than its deadline, though nothing else happens", async () => {
    const { id } = await calibrated();
    // Set for the calibration; it rings too early, and is set anew for the work that is waited for.
    expect(await runDurableObjectAlarm(stubOf(id))).toBe(true);
    expect(await runDurableObjectAlarm(stubOf(id))).toBe(true);
  });
});
