import { describe, expect, it } from "vitest";
import { dataset, defineSession, loss, nn, optim } from "../../shared/nn/index.ts";
import type { DatasetManifest } from "../../shared/session/dataset.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { asAdmin, createSession, FakeClient, request, stubOf, takePart, tinySession } from "./fleet.ts";

const definition = tinySession();

async function weightsHash(id: string): Promise<string | null> {
  const response = await request(`/api/sessions/${id}/metrics`);
  return ((await response.json()) as { result: { weightsHash: string } | null }).result?.weightsHash ?? null;
}

/** Trains a session to its end with two clients. */
async function train(of: SessionDefinition): Promise<string | null> {
  const id = await createSession(of);
  await Promise.all([takePart(new FakeClient(id, of)), takePart(new FakeClient(id, of))]);
  return weightsHash(id);
}

describe("sessions side by side", () => {
  it("train to the hashes that each has alone", async () => {
    const other: SessionDefinition = { ...definition, seed: definition.seed + 1 };
    const alone = [await train(definition), await train(other)];
    const together = await Promise.all([train(definition), train(other)]);
    expect(together).toEqual(alone);
    expect(alone[0]).toMatch(/^[0-9a-f]{64}$/);
    expect(alone[0]).not.toBe(alone[1]);
  });

  it("one of which is deleted while people train: each of them is told, and the other one goes on", async () => {
    const alone = await train(definition);
    const long: SessionDefinition = { ...definition, epochs: 1_000, maxSteps: 1_000 };
    const [doomed, surviving] = [await createSession(long), await createSession(definition)];
    const losers = [new FakeClient(doomed, long), new FakeClient(doomed, long)];
    const idle = new FakeClient(surviving, definition);
    await idle.connect();
    idle.hello();
    const lives = losers.map((client) => takePart(client, 20));
    while (losers.some(({ version }) => version < 3)) await new Promise((resolve) => setTimeout(resolve, 5));

    expect((await request(`/api/sessions/${doomed}`, asAdmin({ method: "DELETE" }))).status).toBe(200);
    await Promise.all(lives);
    for (const { error, closed } of losers) {
      expect(error).toBe("deleted");
      expect(closed).toMatchObject({ code: 4410, reason: "deleted" });
    }
    expect((await request(`/api/sessions/${doomed}`)).status).toBe(404);
    const { sessions } = (await (await request("/api/sessions")).json()) as { sessions: { id: string }[] };
    expect(sessions.map(({ id }) => id)).not.toContain(doomed);

    await takePart(new FakeClient(surviving, definition));
    expect(await weightsHash(surviving)).toBe(alone);
  });
});

describe("deleting a data set", () => {
  /** One sample a chunk: a byte of feature, then from the fourth byte on its label. */
  const CHUNK_BYTES = 8;

  async function pushChunk(value: number): Promise<string> {
    const bytes = new Uint8Array(CHUNK_BYTES).fill(value, 0, 1);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const hash = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    expect((await request(`/api/chunks/${hash}`, asAdmin({ method: "PUT", body: bytes }))).ok).toBe(true);
    return hash;
  }

  async function push(name: string, values: readonly number[]): Promise<string[]> {
    const chunks = await Promise.all(values.map(pushChunk));
    const manifest: DatasetManifest = {
      format: 1,
      name,
      samples: values.length,
      chunkSamples: 1,
      columns: [
        { name: "x", dtype: "uint8", shape: [1] },
        { name: "y", dtype: "int32", shape: [] },
      ],
      splits: { train: [0, values.length] },
      chunks,
    };
    const response = await request(`/api/datasets/${name}`, asAdmin({ method: "PUT", body: JSON.stringify(manifest) }));
    expect(await response.json()).toMatchObject({ name });
    return chunks;
  }

  const remove = async (name: string, query = ""): Promise<{ status: number; body: unknown }> => {
    const response = await request(`/api/datasets/${name}${query}`, asAdmin({ method: "DELETE" }));
    return { status: response.status, body: await response.json() };
  };
  const holds = async (hash: string): Promise<boolean> => (await request(`/api/chunks/${hash}`, asAdmin())).ok;

  const sessionOn = (name: string): SessionDefinition =>
    defineSession({
      title: "On a data set",
      model: nn.sequential(nn.linear(1, 2)),
      input: [1],
      loss: loss.crossEntropy(),
      optimizer: optim.sgd({ lr: 0.1 }),
      data: dataset(name, { x: { column: "x", scale: 1 }, y: "y", train: [0, 4] }),
      batchSize: 4,
      microBatch: 4,
      epochs: 1,
    });

  it("takes the chunks that no other data set has", async () => {
    const first = await push("first", [1, 2, 3, 4]);
    const second = await push("second", [3, 4, 5, 6]);
    expect(await remove("first")).toEqual({ status: 200, body: { name: "first", deletedChunks: 2 } });
    expect(await Promise.all(first.map(holds))).toEqual([false, false, true, true]);
    expect(await Promise.all(second.map(holds))).toEqual([true, true, true, true]);
    expect((await request("/api/datasets/first")).status).toBe(404);
    expect(await remove("first")).toMatchObject({ status: 404, body: { error: { code: "unknown-dataset" } } });
  });

  it("is for the admin only", async () => {
    await push("guarded", [1, 2, 3, 4]);
    expect((await request("/api/datasets/guarded", { method: "DELETE" })).status).toBe(401);
    expect((await request("/api/datasets/guarded")).status).toBe(200);
  });

  it("is refused while a session trains on it, unless forced or the session is over", async () => {
    const chunks = await push("used", [7, 8, 9, 10]);
    const id = await createSession(sessionOn("used"));
    const refused = await remove("used");
    expect(refused).toMatchObject({ status: 409, body: { error: { code: "dataset-in-use" } } });
    expect(JSON.stringify(refused.body)).toContain(id);
    expect(await Promise.all(chunks.map(holds))).toEqual([true, true, true, true]);
    await request(`/api/sessions/${id}/control`, asAdmin({ method: "POST", body: '{"action":"stop"}' }));
    await expect.poll(async () => (await remove("used")).status).toBe(200);

    await push("forced", [7, 8, 9, 10]);
    await createSession(sessionOn("forced"));
    expect((await remove("forced", "?force=true")).status).toBe(200);
  });

  it("comes after its sessions were charged for the chunks that their clients read", async () => {
    const [hash] = await push("read", [11, 12, 13, 14]);
    const id = await createSession(sessionOn("read"));
    for (let count = 0; count < 3; count++) {
      expect((await request(`/api/sessions/${id}/chunks/${hash}`)).status).toBe(200);
    }
    const reads = async (): Promise<number> => {
      const { json } = (await stubOf(id).describe()) as { json: string };
      return (JSON.parse(json) as { cost: { usage: { r2Reads: number } } }).cost.usage.r2Reads;
    };
    // The three, and the manifest.
    await expect.poll(reads, { timeout: 20_000 }).toBe(4);
  });
});
