/**
 * A session as a checkpoint file, and back (shared/checkpoint/head.ts). Neither way is more of it in memory than a piece: what
 * goes out was copied in storage first, and what comes in goes to storage as it comes.
 */

import {
  CHECKPOINT_LIMITS,
  CheckpointError,
  type CheckpointErrorCode,
  type CheckpointHead,
  type CheckpointPart,
  formatHead,
  sealedText,
} from "../../shared/checkpoint/head.ts";
import { blockCount } from "../../shared/codec/index.ts";
import { parameterLength } from "../../shared/graph/parameters.ts";
import { LENGTH_BYTES } from "../../shared/safetensors.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { AVERAGE, DOWNLINK, keptSizes } from "../optim/index.ts";
import { encodeHistory, HistoryReader } from "../store/history.ts";
import { PIECE_BYTES } from "../store/pieces.ts";
import type { ShelvedPart } from "../store/shelf.ts";
import type { RunState, SessionRecord, SessionStore } from "../store/store.ts";
import { type Refusal, refuse } from "./answer.ts";
import { hex, sha256Hex } from "./identity.ts";

const CHECKPOINT_STATUS = {
  "not-a-checkpoint": 400,
  "checkpoint-version": 422,
  "checkpoint-damaged": 422,
  "checkpoint-mismatch": 422,
  "limit-exceeded": 422,
} as const satisfies Record<CheckpointErrorCode, Refusal["status"]>;

/** What is wrong with a checkpoint, as an answer. Throws anything else. */
export function refuseCheckpoint(error: unknown): Refusal {
  if (!(error instanceof CheckpointError)) throw error;
  return refuse(CHECKPOINT_STATUS[error.code], error.code, `the checkpoint: ${error.message}`);
}

const HISTORY = "history";
const ENVELOPE = "envelope";
const BYTES = 4;
/** Parts that clients may be given. */
const SERVED: readonly string[] = ["weights", AVERAGE, DOWNLINK];

/** The parts of a session, and how many bytes each has; null where that is open. */
export function expectedParts(definition: SessionDefinition, { stage, best }: CheckpointHead["state"]) {
  const parameters = parameterLength(definition.graph);
  const sizes = new Map<string, { dtype: CheckpointPart["dtype"]; bytes: number | null }>();
  const expect = (name: string, floats: number): void => {
    sizes.set(name, { dtype: "F32", bytes: floats * BYTES });
  };
  for (const [part, floats] of keptSizes(definition, parameters)) expect(`latest.${part}`, floats);
  if (best !== null) expect("best.weights", parameters);
  if (stage !== "calibrate") sizes.set(ENVELOPE, { dtype: "U8", bytes: blockCount(parameters) });
  sizes.set(HISTORY, { dtype: "U8", bytes: null });
  return sizes;
}

/** Throws CheckpointError `checkpoint-mismatch` unless the file has exactly the parts that the session needs, in their sizes. */
export function requireParts({ parts, state }: CheckpointHead, definition: SessionDefinition): void {
  const expected = expectedParts(definition, state);
  const mismatch = (what: string): CheckpointError => new CheckpointError("checkpoint-mismatch", what);
  for (const { name, dtype, bytes } of parts) {
    const own = expected.get(name);
    if (own === undefined) throw mismatch(`part ${JSON.stringify(name.slice(0, 100))} is none of this session's`);
    if (dtype !== own.dtype || (own.bytes !== null && bytes !== own.bytes)) {
      throw mismatch(`part ${name} has ${bytes} bytes of ${dtype}, the session needs ${own.bytes} of ${own.dtype}`);
    }
    if (own.bytes === null && bytes > CHECKPOINT_LIMITS.historyBytes) {
      throw new CheckpointError(
        "limit-exceeded",
        `part ${name} has ${bytes} bytes, the limit is ${CHECKPOINT_LIMITS.historyBytes}`,
      );
    }
    expected.delete(name);
  }
  expected.delete(HISTORY);
  const [lacking] = expected.keys();
  if (lacking !== undefined) throw mismatch(`part ${lacking} is missing`);
}

async function hashOf(store: SessionStore, { name, pieces }: ShelvedPart): Promise<string> {
  const stream = new crypto.DigestStream("SHA-256");
  const writer = stream.getWriter();
  for (let index = 0; index < pieces; index++) await writer.write(store.shelf.piece(name, index));
  await writer.close();
  return hex(new Uint8Array(await stream.digest));
}

/** A checkpoint file that is being read. */
export interface Outgoing {
  readonly bytes: number;
  readonly stream: ReadableStream<Uint8Array>;
}

/**
 * Freezes what is stored and streams it. Call where the stored checkpoint is the present state.
 * @param onEnd when the last byte went out, or nobody reads on; the shelf is empty then
 */
export async function sendCheckpoint(
  { id, definition, manifest }: SessionRecord,
  store: SessionStore,
  { stage, step, version, best, weightsHash, bestHash, envelope }: RunState,
  onEnd: () => void,
): Promise<Outgoing> {
  store.freeze({
    ...(envelope.length === 0 ? {} : { [ENVELOPE]: [envelope] }),
    [HISTORY]: encodeHistory(store.history(), CHECKPOINT_LIMITS.historyBytes),
  });
  const shelved = store.shelf.parts();
  const parts: CheckpointPart[] = [];
  for (const part of shelved) {
    const dtype = part.name === ENVELOPE || part.name === HISTORY ? "U8" : "F32";
    parts.push({ name: part.name, dtype, bytes: part.bytes, sha256: await hashOf(store, part) });
  }
  const state = { stage, step, version, best, weightsHash, bestHash };
  const head: CheckpointHead = { session: id, definition, manifest, state, parts };
  const text = new TextEncoder().encode(formatHead(head, await sha256Hex(sealedText(head))));
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.byteLength), true);
  const bytes = LENGTH_BYTES + text.byteLength + parts.reduce((sum, part) => sum + part.bytes, 0);

  function* pieces(): Generator<Uint8Array> {
    yield length;
    yield text;
    for (const { name, pieces: count } of shelved) {
      for (let index = 0; index < count; index++) yield store.shelf.piece(name, index);
    }
  }
  const source = pieces();
  const end = (): void => {
    store.shelf.clear();
    onEnd();
  };
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const next = source.next();
        if (next.done !== true) {
          controller.enqueue(next.value);
          return;
        }
        end();
        controller.close();
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  );
  return { bytes, stream };
}

/** Reads exactly `length` bytes. Throws CheckpointError `checkpoint-damaged` where the stream ends before. */
export async function readExactly(
  reader: ReadableStreamBYOBReader,
  length: number,
  what: string,
): Promise<Uint8Array<ArrayBuffer>> {
  if (length === 0) return new Uint8Array(0);
  const { value } = await reader.readAtLeast(length, new Uint8Array(length));
  const bytes = value?.byteLength ?? 0;
  if (value === undefined || bytes < length) {
    throw new CheckpointError("checkpoint-damaged", `the file is cut off in ${what}: ${bytes} of ${length} bytes came`);
  }
  // Exactly what was asked for: the whole of a buffer of its own.
  return value as Uint8Array<ArrayBuffer>;
}

/** A float32 whose exponent is all ones is no number. */
function requireFinite(bytes: Uint8Array<ArrayBuffer>, part: string): void {
  for (const word of new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / BYTES)) {
    if ((word & 0x7f800000) !== 0x7f800000) continue;
    throw new CheckpointError("checkpoint-mismatch", `a value of part ${part} is not finite`);
  }
}

/**
 * Takes the parts of a checkpoint whose head was found to fit (`requireParts`) into an empty store; answers the envelope.
 * Throws CheckpointError, and then the store must be emptied.
 */
export async function receiveParts(
  { parts, state }: CheckpointHead,
  body: ReadableStream<Uint8Array>,
  store: SessionStore,
): Promise<Uint8Array> {
  store.prepare();
  const history = new HistoryReader(state.step);
  let envelope: Uint8Array = new Uint8Array(0);
  const reader = body.getReader({ mode: "byob" });
  try {
    for (const { name, bytes, sha256 } of parts) {
      const stream = new crypto.DigestStream("SHA-256");
      const digest = stream.getWriter();
      const [slot = "", part = ""] = name.split(".");
      for (let offset = 0, piece = 0; offset < bytes; offset += PIECE_BYTES, piece++) {
        const data = await readExactly(reader, Math.min(PIECE_BYTES, bytes - offset), `part ${name}`);
        await digest.write(data);
        if (name === HISTORY) for (const row of history.take(data)) store.putMetric(row);
        else if (name === ENVELOPE) envelope = data;
        else {
          // What clients are given; a state that is not finite makes the next weights so, and the session then says it.
          if (SERVED.includes(part)) requireFinite(data, name);
          store.putPiece(slot, part, piece, data);
        }
      }
      await digest.close();
      const found = hex(new Uint8Array(await stream.digest));
      if (found !== sha256) {
        throw new CheckpointError(
          "checkpoint-damaged",
          `part ${name} was changed: its SHA-256 is ${found}, expected ${sha256}`,
        );
      }
    }
    history.end();
    const { done } = await reader.read(new Uint8Array(1));
    if (!done) throw new CheckpointError("checkpoint-damaged", "the file goes on after its last part");
    return envelope;
  } finally {
    // What else is sent is of no interest.
    await reader.cancel().catch(() => {});
  }
}
