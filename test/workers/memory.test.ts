import { describe, expect, it } from "vitest";
import { defineSession, localData, loss, nn, optim } from "../../shared/nn/index.ts";
import { asAdmin, createSession, FakeClient, request, takePart } from "./fleet.ts";

/** Nearly as many parameters as a session may have: weights of 12 MB, of which memory serves three clients at a time. */
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
    samplesPerEpoch: 24,
  }),
  batchSize: 24,
  microBatch: 4,
  epochs: 5,
  codec: "fixed16",
});
const CLIENTS = 6;

interface Diagnostics {
  readonly ledger: { readonly peak: number; readonly limit: number };
  readonly tally: { readonly steps: number; readonly bytesIn: number; readonly bytesOut: number };
}

describe("a session of more clients than there is memory for", () => {
  it("gives everyone weights in turn, stays within its memory, and counts what it moves", async () => {
    const id = await createSession(large);
    const clients = Array.from({ length: CLIENTS }, () => new FakeClient(id, large));
    await Promise.all(clients.map((client) => takePart(client)));
    // The welcome was of version 1; version 2 followed the calibration.
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
    expect(ledger.peak).toBeGreaterThan(80_000_000);
    expect(tally.steps).toBe(5);
    const oneResult = 2 * 110_000 * 27;
    expect(tally.bytesIn).toBeGreaterThan(5 * 6 * 0.9 * oneResult);
    expect(tally.bytesOut).toBeGreaterThan(CLIENTS * 2 * oneResult);
  });
});
