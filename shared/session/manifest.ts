/** Reads a data set's manifest from untrusted JSON, and checks that a session's data can come out of it. */

import * as v from "valibot";
import type { DatasetManifest } from "./dataset.ts";
import { chunkLayout, sampleBytes } from "./dataset.ts";
import type { ColumnSpec } from "./definition.ts";
import { SESSION_LIMITS } from "./definition.ts";
import { SessionError } from "./errors.ts";
import { column, count, datasetName, describeIssue, range } from "./schemas.ts";
import { columnProblem, vocabularySchema } from "./vocabulary.ts";

/** A chunk is one R2 object, held whole by whoever checks or caches it. */
export const MAX_CHUNK_BYTES = 16_000_000;
export const MAX_CHUNKS = 4_096;

const manifestSchema = v.strictObject({
  format: v.literal(1),
  name: datasetName,
  columns: v.pipe(v.array(column), v.minLength(1), v.maxLength(64)),
  samples: v.pipe(count, v.minValue(1)),
  chunkSamples: v.pipe(count, v.minValue(1)),
  chunks: v.pipe(v.array(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "not a hex SHA-256"))), v.minLength(1)),
  splits: v.record(datasetName, range),
  vocabulary: v.exactOptional(vocabularySchema(MAX_CHUNK_BYTES)),
});

/** Number of samples in a chunk: all have `chunkSamples`, the last one what remains. */
export function samplesOfChunk(manifest: DatasetManifest, chunk: number): number {
  return Math.min(manifest.chunkSamples, manifest.samples - chunk * manifest.chunkSamples);
}

/** Bytes of all chunks. */
export function datasetBytes(manifest: DatasetManifest): number {
  const last = manifest.chunks.length - 1;
  const whole = chunkLayout(manifest.columns, manifest.chunkSamples).bytes;
  return last * whole + chunkLayout(manifest.columns, samplesOfChunk(manifest, last)).bytes;
}

/** What a manifest promises to be there: its chunks, and its tokenizer's file, by hash and in bytes. */
export function blobsOf(manifest: DatasetManifest): { readonly hash: string; readonly bytes: number }[] {
  const chunks = manifest.chunks.map((hash, chunk) => ({
    hash,
    bytes: chunkLayout(manifest.columns, samplesOfChunk(manifest, chunk)).bytes,
  }));
  const { vocabulary } = manifest;
  return vocabulary?.kind === "tokenizer" ? [...chunks, { hash: vocabulary.hash, bytes: vocabulary.bytes }] : chunks;
}

/** Throws SessionError `bad-manifest` or `limit-exceeded`. */
export function parseManifest(value: unknown): DatasetManifest {
  const result = v.safeParse(manifestSchema, value);
  if (!result.success) throw new SessionError("bad-manifest", describeIssue(result.issues[0], "manifest"));
  const manifest: DatasetManifest = result.output;
  requireDistinct(manifest.columns);
  const expected = Math.ceil(manifest.samples / manifest.chunkSamples);
  if (manifest.chunks.length !== expected) {
    throw new SessionError(
      "bad-manifest",
      `${manifest.samples} samples in chunks of ${manifest.chunkSamples} are ${expected} chunks, the manifest names ${manifest.chunks.length}`,
    );
  }
  for (const [name, [from, to]] of Object.entries(manifest.splits)) {
    if (to > manifest.samples) {
      throw new SessionError("bad-manifest", `split ${name} is ${from}..${to} of ${manifest.samples} samples`);
    }
  }
  const problem = manifest.vocabulary === undefined ? null : columnProblem(manifest.vocabulary, manifest.columns);
  if (problem !== null) throw new SessionError("bad-manifest", `vocabulary: ${problem}`);
  const chunkBytes = chunkLayout(manifest.columns, Math.min(manifest.chunkSamples, manifest.samples)).bytes;
  limit("samples", manifest.samples, SESSION_LIMITS.datasetSamples);
  limit("chunks", manifest.chunks.length, MAX_CHUNKS);
  limit("bytes in a chunk", chunkBytes, MAX_CHUNK_BYTES);
  limit("bytes", datasetBytes(manifest), SESSION_LIMITS.datasetBytes);
  return manifest;
}

function limit(what: string, figure: number, most: number): void {
  if (figure > most)
    throw new SessionError("limit-exceeded", `the data set has ${figure} ${what}, the limit is ${most}`);
}

/** Column names are keys: two of one name could not be told apart. */
export function requireDistinct(columns: readonly ColumnSpec[]): void {
  const names = new Set(columns.map(({ name }) => name));
  if (names.size !== columns.length) throw new SessionError("bad-manifest", "two columns have the same name");
  for (const spec of columns) {
    if (sampleBytes(spec) > MAX_CHUNK_BYTES) {
      throw new SessionError(
        "limit-exceeded",
        `column ${spec.name} has ${sampleBytes(spec)} bytes a sample, the limit is ${MAX_CHUNK_BYTES}`,
      );
    }
  }
}
