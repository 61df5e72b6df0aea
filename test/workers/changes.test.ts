import { describe, expect, it } from "vitest";
import { createSession, FakeClient, fakeResult, tinySession } from "./fleet.ts";

const definition = tinySession({ downlink: "delta" });

/** Answers every lease until the socket closes. */
async function work(client: FakeClient): Promise<void> {
  for (;;) {
    const assign = await client.ofType("assign").catch(() => null);
    if (assign === null) return;
    for (const frame of fakeResult(definition, assign)) client.sendBytes(frame);
  }
}

describe("weights sent as changes", () => {
  it("are whole for who does not hold those before", async () => {
    const id = await createSession(definition);
    const [quick, slow] = [new FakeClient(id, definition), new FakeClient(id, definition)];
    for (const client of [quick, slow]) {
      await client.connect();
      client.hello();
      const { version } = await client.ofType("welcome");
      client.send({ type: "ready", version });
    }
    const ends = [work(quick), work(slow)];

    // The slow one says nothing of the weights that it is sent while three more versions are made.
    const ways: string[] = [];
    while (ways.length < 4) {
      const { codec, version } = await quick.ofWeights();
      ways.push(codec);
      quick.send({ type: "ready", version });
    }
    expect(ways.slice(1)).toEqual(["sparse", "sparse", "sparse"]);

    const first = await slow.ofWeights();
    slow.send({ type: "ready", version: first.version });
    const second = await slow.ofWeights();
    expect(second.version).toBeGreaterThan(first.version + 1);
    expect(second.codec).toBe("float32");

    for (const client of [quick, slow]) client.drop();
    await Promise.all(ends);
  });
});
