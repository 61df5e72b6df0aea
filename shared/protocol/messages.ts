/**
 * Control messages: msgpack maps of under 4 KB with a `type`, checked by a schema on arrival. One table each way;
 * adding a message is one entry. Tensors never travel here (see `frames.ts`).
 */

import { Packr } from "msgpackr";
import * as v from "valibot";
import { FRAME_MAGIC } from "./frames.ts";
import { findShapeFault } from "./msgpack-shape.ts";

export const MAX_MESSAGE_BYTES = 4096;

/** Subprotocols of the upgrade: this one, and optionally `bearer.<token>`. */
export const SUBPROTOCOL = "commonweight.1";

const uint32 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffffffff));
const identity = v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/));
const label = v.pipe(v.string(), v.maxLength(200));
const work = v.picklist(["calibrate", "train", "validate", "test"]);
const engineKind = v.picklist(["webgpu", "wasm", "native"]);

/** Client to coordinator. */
export const clientMessages = v.variant("type", [
  /** First message of a socket. With `client` and `resumeKey` it takes over that identity and replaces its old socket. */
  v.strictObject({
    type: v.literal("hello"),
    client: v.optional(identity),
    resumeKey: v.optional(identity),
    engine: engineKind,
    device: label,
    /** Public, for credit; the coordinator keeps what `publicName` leaves of it. Left out: as before. */
    name: v.optional(label),
    /** Samples of its own, for sessions with local data. */
    localSamples: v.optional(uint32),
  }),
  /** The weights of `version` are set: acknowledges the downlink and makes the client eligible for work. */
  v.strictObject({ type: v.literal("ready"), version: uint32 }),
  /** Most micro-batches wanted at a time; 0 pauses and hands leases back at once. */
  v.strictObject({ type: v.literal("capacity"), microBatches: uint32 }),
  /** A lease that could not be computed; it is handed to somebody else. */
  v.strictObject({ type: v.literal("failed"), lease: uint32, code: label, message: label }),
  /** Leaves for good. */
  v.strictObject({ type: v.literal("leave") }),
  /** Leaves for good and is forgotten; `forgotten` says that it is done. */
  v.strictObject({ type: v.literal("forget") }),
]);

export type ClientMessage = v.InferOutput<typeof clientMessages>;

const clientSummary = v.strictObject({
  /** First 8 characters of the public identity. */
  id: label,
  /** As the volunteer chose it; empty if they did not. */
  name: label,
  engine: engineKind,
  device: label,
  samples: v.number(),
  /** Micro-batches a second as the coordinator measured it. */
  speed: v.number(),
  state: v.picklist(["loading", "ready", "working", "paused"]),
});

/** Coordinator to client. */
export const coordinatorMessages = v.variant("type", [
  v.strictObject({
    type: v.literal("welcome"),
    client: identity,
    resumeKey: identity,
    step: uint32,
    /** Current weights: fetch them over HTTP unless they are at hand. */
    version: uint32,
  }),
  v.strictObject({
    type: v.literal("assign"),
    lease: uint32,
    work,
    step: uint32,
    version: uint32,
    /** Half-open range of the step's (or the split's) micro-batches. */
    from: uint32,
    to: uint32,
  }),
  /** The lease is void: stop computing it if that is still possible. */
  v.strictObject({ type: v.literal("revoke"), lease: uint32 }),
  /** What became of a result. */
  v.strictObject({ type: v.literal("receipt"), lease: uint32, accepted: v.boolean(), reason: label, samples: uint32 }),
  /** Progress for everyone who watches; at most a few a second. */
  v.strictObject({
    type: v.literal("progress"),
    stage: v.picklist(["calibrate", "train", "validate", "test", "done"]),
    status: v.picklist(["waiting", "running", "paused", "stopped", "failed", "finished"]),
    /** Why it paused or failed; empty otherwise. */
    reason: v.pipe(v.string(), v.maxLength(500)),
    step: uint32,
    totalSteps: uint32,
    epoch: uint32,
    version: uint32,
    loss: v.nullable(v.number()),
    metrics: v.record(v.string(), v.number()),
    validation: v.nullable(
      v.strictObject({ step: uint32, loss: v.number(), metrics: v.record(v.string(), v.number()) }),
    ),
    samplesPerSecond: v.number(),
    clientCount: uint32,
    clients: v.array(clientSummary),
  }),
  /** Identity, name and contribution of this client are deleted; a close follows. */
  v.strictObject({ type: v.literal("forgotten") }),
  v.strictObject({ type: v.literal("error"), code: label, message: v.pipe(v.string(), v.maxLength(500)) }),
]);

export type CoordinatorMessage = v.InferOutput<typeof coordinatorMessages>;
/** Where a session stands, for displays. */
export type Progress = Extract<CoordinatorMessage, { type: "progress" }>;

/**
 * Every error a coordinator reports, by code: the socket close code it uses and whether trying again may help.
 * 4xxx codes are the application's.
 */
export const PROTOCOL_ERRORS = {
  "unknown-session": { close: 4404, retry: false },
  "protocol-version": { close: 4426, retry: false },
  "bad-message": { close: 4400, retry: true },
  "bad-frame": { close: 4401, retry: true },
  "frame-too-large": { close: 4413, retry: true },
  "tensor-size": { close: 4402, retry: true },
  "wrong-resume-key": { close: 4403, retry: false },
  "hello-first": { close: 4405, retry: true },
  /** No token where one is needed, or one that is forged, expired, revoked, or for something else; the message says which. */
  "not-invited": { close: 4407, retry: false },
  /** From another page than the session allows. */
  "wrong-origin": { close: 4408, retry: false },
  /** More messages, bytes or sockets than one client or one address may have. */
  "rate-limited": { close: 4430, retry: true },
  "too-many-clients": { close: 4429, retry: true },
  banned: { close: 4406, retry: false },
  replaced: { close: 4409, retry: false },
  deleted: { close: 4410, retry: false },
  finished: { close: 4200, retry: false },
  internal: { close: 1011, retry: true },
} as const;

/** Milliseconds for which a client stays away at least once it was told `rate-limited`. */
export const RATE_LIMIT_PAUSE = 10_000;

export type ProtocolErrorCode = keyof typeof PROTOCOL_ERRORS;

export class ProtocolError extends Error {
  readonly code: ProtocolErrorCode;
  constructor(code: ProtocolErrorCode, message: string) {
    super(message);
    this.name = "ProtocolError";
    this.code = code;
  }
}

const packr = new Packr({ useRecords: false, mapsAsObjects: true });

export function encodeMessage(message: ClientMessage | CoordinatorMessage): Uint8Array<ArrayBuffer> {
  const packed = packr.pack(message);
  if (packed.byteLength > MAX_MESSAGE_BYTES) {
    throw new ProtocolError(
      "bad-message",
      `${message.type} has ${packed.byteLength} bytes, limit ${MAX_MESSAGE_BYTES}`,
    );
  }
  return new Uint8Array(packed);
}

function decode<Schema extends v.GenericSchema>(schema: Schema, buffer: ArrayBuffer): v.InferOutput<Schema> {
  if (buffer.byteLength > MAX_MESSAGE_BYTES) {
    throw new ProtocolError("bad-message", `message of ${buffer.byteLength} bytes, limit ${MAX_MESSAGE_BYTES}`);
  }
  const fault = findShapeFault(new Uint8Array(buffer));
  if (fault !== null) throw new ProtocolError("bad-message", `not msgpack as it is used here: ${fault}`);
  let value: unknown;
  try {
    value = packr.unpack(new Uint8Array(buffer));
  } catch (cause) {
    throw new ProtocolError("bad-message", `not msgpack: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  const result = v.safeParse(schema, value);
  if (!result.success) {
    const issue = result.issues[0];
    const path = v.getDotPath(issue);
    throw new ProtocolError("bad-message", `${path === null ? "message" : path}: ${issue.message}`);
  }
  return result.output;
}

/** Throws ProtocolError `bad-message`. */
export const decodeClientMessage = (buffer: ArrayBuffer): ClientMessage => decode(clientMessages, buffer);
/** Throws ProtocolError `bad-message`. */
export const decodeCoordinatorMessage = (buffer: ArrayBuffer): CoordinatorMessage =>
  decode(coordinatorMessages, buffer);

/** Tensor frames and control messages share the socket: a frame starts with the magic, which no msgpack map does. */
export function isFrame(buffer: ArrayBuffer): boolean {
  return buffer.byteLength >= 4 && new DataView(buffer).getUint32(0, true) === FRAME_MAGIC;
}
