/**
 * A checkpoint file: everything that a session needs to go on elsewhere with the same bits. It is a safetensors file whose
 * metadata are the session's description and state, and whose tensors are flat parts such as `latest.weights` [parameters].
 * This is its head as text; the parts stream past whoever reads or writes them.
 *
 * Each part is named with the SHA-256 of its bytes, and the seal is the SHA-256 of all that the head says: a file that was
 * cut off or changed is noticed. They prove no origin: whoever can write a file can seal it.
 */

import * as v from "valibot";
import { formatHeader, parseHeader, SafetensorsError, type SafetensorsHeader } from "../safetensors.ts";
import { isSessionId } from "../session/access.ts";
import { canonicalJson } from "../session/canonical.ts";
import { SESSION_LIMITS } from "../session/definition.ts";
import { describeIssue } from "../session/schemas.ts";

const FORMAT = "commonweight-checkpoint";
/** Rises when what is in a checkpoint changes its meaning. */
export const CHECKPOINT_VERSION = "1";

export const CHECKPOINT_LIMITS = {
  /** Definition and manifest are strings in it, with their quotes escaped. */
  headerBytes: 4 * SESSION_LIMITS.definitionBytes,
  /** What is kept of the record of steps: the newest ones. Evaluations are kept all. */
  historyBytes: 16_000_000,
  parts: 64,
  /** What Cloudflare lets through in one request (https://developers.cloudflare.com/workers/platform/limits/). */
  fileBytes: 100_000_000,
} as const;

export type CheckpointErrorCode =
  /** Some other file. */
  | "not-a-checkpoint"
  /** Written by other software than this can read. */
  | "checkpoint-version"
  /** Cut off, changed, or put together wrongly. */
  | "checkpoint-damaged"
  /** Whole, but it does not fit the session, the data set or the coordinator that it is to go on with. */
  | "checkpoint-mismatch"
  | "limit-exceeded";

export class CheckpointError extends Error {
  readonly code: CheckpointErrorCode;
  constructor(code: CheckpointErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CheckpointError";
    this.code = code;
  }
}

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const uint32 = v.pipe(count, v.maxValue(0xffffffff));
const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "not a hex SHA-256"));

const stateSchema = v.strictObject({
  stage: v.picklist(["calibrate", "train", "validate", "test", "done"]),
  /** Updates done. The data's order, dropout and the schedules follow from it and the seed. */
  step: uint32,
  version: v.pipe(uint32, v.minValue(1)),
  best: v.nullable(v.strictObject({ step: uint32, version: uint32, loss: v.pipe(v.number(), v.finite()) })),
  weightsHash: v.nullable(sha256),
  bestHash: v.nullable(sha256),
});

/** Where the run is. */
export type CheckpointState = v.InferOutput<typeof stateSchema>;

/** Float32 numbers, or bytes. */
export interface CheckpointPart {
  readonly name: string;
  readonly dtype: "F32" | "U8";
  readonly bytes: number;
  /** Hex, of its bytes. */
  readonly sha256: string;
}

export interface CheckpointHead {
  /** Id of the session that it was taken of. */
  readonly session: string;
  /** JSON of the SessionDefinition. */
  readonly definition: string;
  /** JSON of the DatasetManifest; null for local data. */
  readonly manifest: string | null;
  readonly state: CheckpointState;
  /** In the order of the file. */
  readonly parts: readonly CheckpointPart[];
}

const metadataSchema = v.strictObject({
  format: v.literal(FORMAT),
  version: v.literal(CHECKPOINT_VERSION),
  session: v.pipe(v.string(), v.check(isSessionId, "not a session's id")),
  definition: v.string(),
  manifest: v.optional(v.string()),
  state: v.string(),
  /** JSON: hex SHA-256 by part. */
  hashes: v.string(),
  seal: sha256,
});

/** What the seal is the SHA-256 of. */
export const sealedText = ({ session, definition, manifest, state, parts }: CheckpointHead): string =>
  canonicalJson({ version: CHECKPOINT_VERSION, session, definition, manifest, state, parts });

/** The header of the file. @param seal hex SHA-256 of `sealedText` */
export function formatHead(head: CheckpointHead, seal: string): string {
  const tensors = head.parts.map(({ name, dtype, bytes }) => {
    return { name, dtype, shape: [dtype === "F32" ? bytes / 4 : bytes], bytes };
  });
  return formatHeader(tensors, {
    format: FORMAT,
    version: CHECKPOINT_VERSION,
    session: head.session,
    definition: head.definition,
    ...(head.manifest === null ? {} : { manifest: head.manifest }),
    state: canonicalJson(head.state),
    hashes: canonicalJson(Object.fromEntries(head.parts.map(({ name, sha256 }) => [name, sha256]))),
    seal,
  });
}

/** Reads JSON text by a schema. Throws CheckpointError `checkpoint-damaged`. */
function parsed<Schema extends v.GenericSchema>(what: string, text: string, schema: Schema): v.InferOutput<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError("checkpoint-damaged", `its ${what} is not JSON`, { cause });
  }
  const result = v.safeParse(schema, value);
  if (!result.success) throw new CheckpointError("checkpoint-damaged", describeIssue(result.issues[0], what));
  return result.output;
}

function parseMetadata(metadata: unknown): v.InferOutput<typeof metadataSchema> {
  const { format, version } = Object(metadata) as { format?: unknown; version?: unknown };
  if (format !== FORMAT) {
    throw new CheckpointError(
      "not-a-checkpoint",
      "it holds no checkpoint (commonweight export --format checkpoint writes one); weights alone are for a session file",
    );
  }
  if (version !== CHECKPOINT_VERSION) {
    const found = String(version).slice(0, 20);
    throw new CheckpointError(
      "checkpoint-version",
      `it has version ${found}, this software reads ${CHECKPOINT_VERSION}`,
    );
  }
  const result = v.safeParse(metadataSchema, metadata);
  if (!result.success) throw new CheckpointError("checkpoint-damaged", describeIssue(result.issues[0], "metadata"));
  return result.output;
}

function partOf(
  { name, dtype, shape, from, to }: SafetensorsHeader["tensors"][number],
  hashes: Readonly<Record<string, string>>,
): CheckpointPart {
  const hash = Object.hasOwn(hashes, name) ? hashes[name] : undefined;
  if (hash === undefined || shape.length !== 1 || (dtype !== "F32" && dtype !== "U8")) {
    const what = JSON.stringify(name.slice(0, 100));
    throw new CheckpointError(
      "checkpoint-damaged",
      `part ${what} is ${dtype.slice(0, 20)} of rank ${shape.length}, or has no hash`,
    );
  }
  return { name, dtype, bytes: to - from, sha256: hash };
}

/**
 * Reads the text of a file's header. What it answers with is well formed; that it fits together and is meant for this session
 * is checked elsewhere (state.ts), and that the seal is right by whoever can compute it. Throws CheckpointError.
 */
export function parseHead(text: string): {
  readonly head: CheckpointHead;
  readonly seal: string;
  readonly bytes: number;
} {
  let header: SafetensorsHeader;
  try {
    header = parseHeader(text);
  } catch (error) {
    if (!(error instanceof SafetensorsError)) throw error;
    throw new CheckpointError("not-a-checkpoint", error.message, { cause: error });
  }
  const metadata = parseMetadata(header.metadata);
  if (header.tensors.length > CHECKPOINT_LIMITS.parts) {
    throw new CheckpointError(
      "limit-exceeded",
      `${header.tensors.length} parts, the limit is ${CHECKPOINT_LIMITS.parts}`,
    );
  }
  const hashes = parsed("table of hashes", metadata.hashes, v.record(v.string(), sha256));
  const parts = header.tensors.map((tensor) => partOf(tensor, hashes));
  const { session, definition, manifest = null, seal } = metadata;
  return {
    head: { session, definition, manifest, state: parsed("state", metadata.state, stateSchema), parts },
    seal,
    bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}
