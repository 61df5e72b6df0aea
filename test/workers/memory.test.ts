import { describe, expect, it } from "vitest";
import { defineSession, localData, loss, nn, optim } from "../../shared/nn/index.ts";
import { asAdmin, createSession, FakeClient, fakeResult, request, takePart } from "./fleet.ts";

/** Nearly as many parameters as a session may have: weights of 12 MB, of which memory serves two or three clients at a time. */
const large = defineSession({
  title: "Large",
  model: nn.sequential(nn.linear(16, 110_000), nn.relu(), nn.linear(110_000, 10)),
  input: [16],
  loss: loss.crossEntropy(),
  optimizer: optim.adam({ lr: 1e-3 }),
  data: localData({
    x: "x",
    y: "y",
    columns: [
      { name: "x", dtype: "float32", shape: [16] },
      { name: "y", dtype: "int32", shape: [] },
    ],
    samplesPerEpoch: 40,
  }),
  batchSize: 40,
  microBatch: 4,
  epochs: 6,
  codec: "fixed32",
});
const CLIENTS = 10;

interface Diagnostics {
  readonly ledger: { readonly peak: number; readonly limit: number };
  readonly tally: { readonly steps: number; readonly bytesIn: number; readonly bytesOut: number };
}

async function join(id: string): Promise<FakeClient> {
  const client = new FakeClient(id, large);
  await client.connect();
  client.hello();
  const { version } = await client.ofType("welcome");
  client.send({ type: "ready", version });
  return client;
}

const weightsOf = (client: FakeClient): Promise<number> =>
  client.next((message) => (message.type === "weights" ? message.version : undefined));

/** Answers the next lease; true if it counted. */
async function answer(client: FakeClient): Promise<boolean> {
  for (const frame of fakeResult(large, await client.ofType("assign"))) client.sendBytes(frame);
  return (await client.ofType("receipt")).accepted;
}

describe("a session of more clients than there is memory for", () => {
  it("gives everyone weights in turn, stays within its memory, and counts what it moves", async () => {
    const id = await createSession(large);
    const clients = Array.from({ length: CLIENTS }, () => new FakeClient(id, large));
    await Promise.all(clients.map((client) => takePart(client)));
    // The welcome was of version 1; version 2 followed the calibration. Nobody was sent away for want of memory.
    for (const { version, error } of clients) {
      expect(version).toBeGreaterThan(1);
      expect(error).toBe("finished");
    }
    const { ledger, tally } = (await (
      await request(`/api/sessions/${id}/diagnostics`, asAdmin())
    ).json()) as Diagnostics;
    expect(ledger.limit).toBe(96_000_000);
    expect(ledger.peak).toBeLessThanOrEqual(ledger.limit);
    // More than the optimizer alone: transfers were under way, and as many as fit.
    expect(ledger.peak).toBeGreaterThan(75_000_000);
    expect(tally.steps).toBe(6);
    const oneResult = 4 * 110_000 * 27;
    // Whoever comes late finds its micro-batch done by others, several in one result.
    expect(tally.bytesIn).toBeGreaterThan(6 * 10 * 0.6 * oneResult);
    expect(tally.bytesOut).toBeGreaterThan(CLIENTS * oneResult);
  });

  it("keeps memory for the result of whoever has a lease, however many others have weights under way", async () => {
    const id = await createSession(large);
    const worker = await join(id);
    const others: FakeClient[] = [];
    for (let count = 1; count < CLIENTS; count++) others.push(await join(id));
    // Calibration results come in one frame.
    for (const client of [worker, ...others]) expect(await answer(client)).toBe(true);
    // From here on nobody else says that its weights came.
    worker.send({ type: "ready", version: await weightsOf(worker) });
    expect(await answer(worker)).toBe(true);
    expect(worker.closed).toBeNull();
  });

  it("sends no weights to those who pause, until they go on", async () => {
    const id = await createSession(large);
    const [worker, paused] = [await join(id), await join(id)];
    paused.send({ type: "capacity", microBatches: 0 });
    for (;;) {
      const next = await worker.next((message) => (["assign", "weights"].includes(message.type) ? message : undefined));
      // Work at the next weights comes with them, and is left alone.
      if (next.type === "assign" && next.work === "calibrate") {
        for (const frame of fakeResult(large, next)) worker.sendBytes(frame);
      }
      if (next.type === "weights") break;
    }
    worker.send({ type: "ready", version: 2 });
    // What was sent to both at once would be here by now.
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(paused.received.map(({ type }) => type)).not.toContain("weights");
    paused.send({ type: "capacity", microBatches: 8 });
    expect(await weightsOf(paused)).toBe(2);
  });
});
