import { describe, expect, it } from "vitest";
import { dataset, defineSession, loss, nn, optim } from "../../shared/nn/index.ts";
import type { DatasetManifest } from "../../shared/session/dataset.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { asAdmin, createSession, FakeClient, request, takePart } from "./fleet.ts";

const ROWS = 50;
const LENGTH = 4;

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function pushBlob(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = await sha256(bytes);
  expect((await request(`/api/chunks/${hash}`, asAdmin({ method: "PUT", body: bytes }))).ok).toBe(true);
  return hash;
}

const bytes = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(new TextEncoder().encode(text));

/** A text of 50 tokens in one chunk. */
async function manifestOf(name: string, more: Partial<DatasetManifest>): Promise<DatasetManifest> {
  const chunk = new Uint8Array(52).fill(3, 0, ROWS);
  return {
    format: 1,
    name,
    columns: [{ name: "tokens", dtype: "uint8", shape: [] }],
    samples: ROWS,
    chunkSamples: ROWS,
    chunks: [await pushBlob(chunk)],
    splits: { train: [0, ROWS] },
    ...more,
  };
}

const put = (manifest: DatasetManifest): Promise<Response> =>
  request(`/api/datasets/${manifest.name}`, asAdmin({ method: "PUT", body: JSON.stringify(manifest) }));

function session(name: string, changes: Partial<SessionDefinition["data"]> = {}): SessionDefinition {
  const definition = defineSession({
    title: "Windows",
    model: nn.sequential(nn.embedding(8, 2), nn.linear(2, 8)),
    input: { x: { dtype: "int32", shape: [LENGTH] } },
    loss: loss.crossEntropy({ classAxis: -1 }),
    optimizer: optim.adam(),
    data: dataset(name, {
      x: "tokens",
      y: { column: "tokens", shift: 1 },
      window: { length: LENGTH, stride: 2 },
      train: [0, ROWS],
    }),
    batchSize: 8,
    microBatch: 4,
    epochs: 2,
  });
  return { ...definition, data: { ...definition.data, ...changes } as SessionDefinition["data"] };
}

describe("a session on windows of a text", () => {
  it("has as many steps as windows fill, each of so many samples", async () => {
    expect((await put(await manifestOf("stream", {}))).status).toBe(200);
    const definition = session("stream");
    const id = await createSession(definition);
    await takePart(new FakeClient(id, definition));
    const { steps } = (await (await request(`/api/sessions/${id}/metrics`)).json()) as { steps: { samples: number }[] };
    // 23 windows of 4 tokens and the next one begin in 50 rows, two apart.
    expect(steps.map(({ samples }) => samples)).toEqual([8, 8, 7, 8, 8, 7]);
  });

  it("is refused where the text is too short, or its rows are not what the model takes", async () => {
    await put(await manifestOf("stream", {}));
    const create = async (data: object): Promise<unknown> => {
      const response = await request(
        "/api/sessions",
        asAdmin({ method: "POST", body: JSON.stringify(session("stream", data)) }),
      );
      return { status: response.status, ...((await response.json()) as object) };
    };
    expect(await create({ train: [0, 4] })).toMatchObject({
      status: 400,
      error: { code: "bad-definition", message: expect.stringContaining("4 rows are no window, which takes 5") },
    });
    expect(await create({ train: [0, ROWS + 1] })).toMatchObject({ error: { code: "dataset-mismatch" } });
    expect(await create({ window: { length: 5, stride: 1 } })).toMatchObject({ error: { code: "dataset-mismatch" } });
  });
});

describe("a data set with a tokenizer", () => {
  const tokenizer = bytes('{"model":{}}');

  it("needs its file, of the size that the manifest says", async () => {
    const other = bytes('{"model":{}, "other": 1}');
    const vocabulary = { kind: "tokenizer", hash: await sha256(other), bytes: other.byteLength, size: 8 } as const;
    const missing = await put(await manifestOf("lacking", { vocabulary }));
    expect(missing.status).toBe(422);
    expect(await missing.json()).toMatchObject({ error: { code: "chunk-missing" } });
    await pushBlob(other);
    const wrong = await put(await manifestOf("lacking", { vocabulary: { ...vocabulary, bytes: 5 } }));
    expect(await wrong.json()).toMatchObject({ error: { code: "chunk-size" } });
    expect((await put(await manifestOf("lacking", { vocabulary }))).status).toBe(200);
  });

  it("gives it to whoever has the session, and loses it when it is deleted", async () => {
    const hash = await pushBlob(tokenizer);
    const vocabulary = { kind: "tokenizer", hash, bytes: tokenizer.byteLength, size: 8 } as const;
    await put(await manifestOf("with-tokenizer", { vocabulary }));
    const id = await createSession(session("with-tokenizer"));
    const served = await request(`/api/sessions/${id}/chunks/${hash}`);
    expect(new Uint8Array(await served.arrayBuffer())).toEqual(tokenizer);
    await put(await manifestOf("plain", {}));
    const other = await createSession(session("plain"));
    expect((await request(`/api/sessions/${other}/chunks/${hash}`)).status).toBe(404);

    const remove = (name: string) => request(`/api/datasets/${name}?force=true`, asAdmin({ method: "DELETE" }));
    await put(await manifestOf("twin", { vocabulary }));
    await remove("with-tokenizer");
    expect((await request(`/api/chunks/${hash}`, asAdmin({ method: "HEAD" }))).status).toBe(200);
    await remove("twin");
    expect((await request(`/api/chunks/${hash}`, asAdmin({ method: "HEAD" }))).status).toBe(404);
  });
});
