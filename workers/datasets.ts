/** Data sets in R2: chunks by the SHA-256 of their bytes, and manifests by name. Only an admin writes. */

import { Hono } from "hono";
import { chunkKey } from "../coordinator/store/chunks.ts";
import { isUnfinished, readListing } from "../coordinator/store/listing.ts";
import type { DatasetManifest } from "../shared/session/dataset.ts";
import { blobsOf, datasetBytes, MAX_CHUNK_BYTES, parseManifest } from "../shared/session/manifest.ts";
import { requireAdmin } from "./admin.ts";
import { readBytes, readJson } from "./body.ts";
import type { AppTypes } from "./env.ts";
import { HttpError } from "./errors.ts";

const SHA256 = /^[0-9a-f]{64}$/;
const MAX_MANIFEST_BYTES = 1_000_000;
/** R2 look-ups under way at once while a manifest's blobs are checked. */
const PARALLEL = 16;
/** R2 deletes at most so many objects a call. */
const DELETED_AT_ONCE = 1_000;

const manifestKey = (name: string): string => `datasets/${name}`;

function requireHash(hash: string): string {
  if (!SHA256.test(hash))
    throw new HttpError(400, "bad-hash", "a chunk's name is 64 lower-case hexadecimal characters");
  return hash;
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The manifest of a data set, or null. */
export async function readManifest(bucket: R2Bucket, name: string): Promise<DatasetManifest | null> {
  const object = await bucket.get(manifestKey(name));
  return object === null ? null : parseManifest(await object.json());
}

/** Throws HttpError 422 `chunk-missing` unless every chunk is held with the size that the manifest implies. */
async function requireChunks(bucket: R2Bucket, manifest: DatasetManifest): Promise<void> {
  const waiting = [...blobsOf(manifest).entries()];
  const check = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const [index, { hash, bytes }] = next;
      const object = await bucket.head(chunkKey(hash));
      if (object === null) throw new HttpError(422, "chunk-missing", `chunk ${index} (${hash}) was not uploaded`);
      if (object.size !== bytes) {
        throw new HttpError(422, "chunk-size", `chunk ${index} has ${object.size} bytes, the manifest says ${bytes}`);
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, check));
}

export const chunks = new Hono<AppTypes>()
  .use(requireAdmin)
  .put("/:hash", async (context) => {
    const hash = requireHash(context.req.param("hash"));
    const bytes = await readBytes(context.req.raw, MAX_CHUNK_BYTES, "the chunk");
    const actual = await sha256(bytes);
    if (actual !== hash) throw new HttpError(422, "hash-mismatch", `the body's SHA-256 is ${actual}`);
    const held = await context.env.BUCKET.head(chunkKey(hash));
    if (held === null) await context.env.BUCKET.put(chunkKey(hash), bytes, { sha256: hash });
    return context.json({ hash, bytes: bytes.byteLength }, held === null ? 201 : 200);
  })
  // Hono answers HEAD through this route, too.
  .get("/:hash", async (context) => {
    const hash = requireHash(context.req.param("hash"));
    const object = await context.env.BUCKET.get(chunkKey(hash));
    if (object === null) throw new HttpError(404, "unknown-chunk", "no such chunk was uploaded");
    return new Response(object.body, {
      headers: { "Content-Type": "application/octet-stream", "Content-Length": String(object.size) },
    });
  });

interface ListedDataset {
  readonly name: string;
  readonly samples: number;
  readonly bytes: number;
}

async function listDatasets(bucket: R2Bucket): Promise<ListedDataset[]> {
  const found: ListedDataset[] = [];
  let cursor: string | undefined;
  do {
    const page = await bucket.list({
      prefix: manifestKey(""),
      include: ["customMetadata"],
      ...(cursor === undefined ? {} : { cursor }),
    });
    for (const { key, customMetadata } of page.objects) {
      found.push({
        name: key.slice(manifestKey("").length),
        samples: Number(customMetadata?.samples ?? 0),
        bytes: Number(customMetadata?.bytes ?? 0),
      });
    }
    cursor = page.truncated ? page.cursor : undefined;
  } while (cursor !== undefined);
  return found;
}

/** Throws HttpError 409 `dataset-in-use` while a session that is not over trains on the data set. */
async function requireUnused(bucket: R2Bucket, name: string): Promise<void> {
  const listed = await readListing(bucket, { includePrivate: true, limit: Number.POSITIVE_INFINITY });
  const users = listed.filter((session) => session.dataset === name && isUnfinished(session));
  const [first] = users;
  if (first === undefined) return;
  const others = users.length === 1 ? "" : ` and ${users.length - 1} more`;
  throw new HttpError(
    409,
    "dataset-in-use",
    `session ${first.id}${others} trains on ${name}: stop it or delete it first, or delete with force=true`,
  );
}

/**
 * Deletes a manifest, and then those of its chunks that no other manifest names. A push under way that counts on one of
 * them is refused when it hands in its manifest, and can be repeated. Answers how many chunks went.
 */
async function deleteDataset(bucket: R2Bucket, manifest: DatasetManifest): Promise<number> {
  await bucket.delete(manifestKey(manifest.name));
  const orphans = new Set(blobsOf(manifest).map(({ hash }) => hash));
  for (const { name } of await listDatasets(bucket)) {
    const other = await readManifest(bucket, name);
    for (const { hash } of other === null ? [] : blobsOf(other)) orphans.delete(hash);
  }
  const keys = [...orphans].map(chunkKey);
  for (let from = 0; from < keys.length; from += DELETED_AT_ONCE) {
    await bucket.delete(keys.slice(from, from + DELETED_AT_ONCE));
  }
  return keys.length;
}

export const datasets = new Hono<AppTypes>()
  .get("/", async (context) => context.json({ datasets: await listDatasets(context.env.BUCKET) }))
  .get("/:name", async (context) => {
    const manifest = await readManifest(context.env.BUCKET, context.req.param("name"));
    if (manifest === null) throw new HttpError(404, "unknown-dataset", "there is no data set of this name");
    return context.json(manifest);
  })
  .put("/:name", requireAdmin, async (context) => {
    const name = context.req.param("name");
    const manifest = parseManifest(await readJson(context.req.raw, MAX_MANIFEST_BYTES, "the manifest"));
    if (manifest.name !== name) {
      throw new HttpError(400, "bad-manifest", `the manifest is named ${manifest.name}, the address says ${name}`);
    }
    await requireChunks(context.env.BUCKET, manifest);
    const bytes = datasetBytes(manifest);
    await context.env.BUCKET.put(manifestKey(name), JSON.stringify(manifest), {
      customMetadata: { samples: String(manifest.samples), bytes: String(bytes) },
    });
    return context.json({ name, samples: manifest.samples, bytes, chunks: manifest.chunks.length });
  })
  .delete("/:name", requireAdmin, async (context) => {
    const { BUCKET } = context.env;
    const manifest = await readManifest(BUCKET, context.req.param("name"));
    if (manifest === null) throw new HttpError(404, "unknown-dataset", "there is no data set of this name");
    if (context.req.query("force") !== "true") await requireUnused(BUCKET, manifest.name);
    return context.json({ name: manifest.name, deletedChunks: await deleteDataset(BUCKET, manifest) });
  });
