/**
 * Scripted clients over real WebSockets into the real Durable Object. Their gradients are made up: integers that are a
 * function of (step, micro-batch, parameter) alone, so that every sharding must add up to the same sums. Named fake,
 * because no network is computed here; real engines are used in test/e2e.
 */

import { env, exports } from "cloudflare:workers";
import type { TrainingSession } from "../../coordinator/session/session.ts";
import { blockCount, CODECS, magnitudeBits } from "../../shared/codec/index.ts";
import { metricNames, parameterLength } from "../../shared/graph/index.ts";
import { evaluationSums } from "../../shared/graph/parameters.ts";
import { defineSession, type Loss, localData, loss, nn, optim } from "../../shared/nn/index.ts";
import { cutBody, decodeFrame, type FrameHeader, upwardLayout } from "../../shared/protocol/frames.ts";
import {
  type ClientMessage,
  type CoordinatorMessage,
  decodeCoordinatorMessage,
  encodeMessage,
  isFrame,
  SUBPROTOCOL,
} from "../../shared/protocol/messages.ts";
import type { GradientCodec, SessionDefinition } from "../../shared/session/definition.ts";

export interface TestEnv {
  readonly SESSION: DurableObjectNamespace<TrainingSession>;
  readonly BUCKET: R2Bucket;
  readonly ADMIN_SECRET: string;
}

export const testEnv = env as unknown as TestEnv;

const ORIGIN = "http://coordinator.test";

/** A request to the Worker itself. */
export function request(path: string, init: RequestInit = {}): Promise<Response> {
  const worker = (exports as unknown as { default: Fetcher }).default;
  return worker.fetch(new Request(ORIGIN + path, init as RequestInit<CfProperties>)) as unknown as Promise<Response>;
}

export const asAdmin = (init: RequestInit = {}): RequestInit => ({
  ...init,
  headers: { ...(init.headers as Record<string, string>), Authorization: `Bearer ${testEnv.ADMIN_SECRET}` },
});

/** A tiny session of 10 steps, each of 6 micro-batches. */
export function tinySession(
  options: { steps?: number; loss?: Loss; codec?: GradientCodec; downlink?: "delta" } = {},
): SessionDefinition {
  return defineSession({
    title: "Tiny",
    model: nn.sequential(nn.linear(30, 12), nn.relu(), nn.linear(12, 3)),
    input: [30],
    loss: options.loss ?? loss.crossEntropy(),
    optimizer: optim.adam({ lr: 1e-2 }),
    data: localData({
      x: "x",
      y: "y",
      columns: [
        { name: "x", dtype: "float32", shape: [30] },
        { name: "y", dtype: "int32", shape: [] },
      ],
      samplesPerEpoch: 48,
    }),
    batchSize: 24,
    microBatch: 4,
    epochs: 20,
    maxSteps: options.steps ?? 10,
    codec: options.codec ?? "fixed32",
    downlink: options.downlink ?? "float32",
  });
}

export async function createSession(definition: SessionDefinition): Promise<string> {
  const response = await request("/api/sessions", asAdmin({ method: "POST", body: JSON.stringify(definition) }));
  if (response.status !== 201) throw new Error(`not created: ${response.status} ${await response.text()}`);
  return ((await response.json()) as { id: string }).id;
}

export const stubOf = (id: string) => testEnv.SESSION.get(testEnv.SESSION.idFromName(id));

/** A small integer that depends on where it stands alone. */
function fakeValue(step: number, microBatch: number, parameter: number): number {
  return (Math.imul(step * 31 + microBatch * 7 + 1, parameter * 2654435761 + 97) >> 12) % 100_000;
}

/** Sums of made-up values, each within what the codec leaves one micro-batch. */
function fakeSums(
  { graph, codec, batchSize, microBatch: size }: SessionDefinition,
  { step, from, to }: Assign,
): Int32Array {
  const sums = new Int32Array(parameterLength(graph));
  const limit = 2 ** magnitudeBits(codec, Math.ceil(batchSize / size));
  for (let microBatch = from; microBatch < to; microBatch++) {
    for (let at = 0; at < sums.length; at++) sums[at] += fakeValue(step, microBatch, at) % limit;
  }
  const { part } = CODECS[codec];
  return part === null ? sums : sums.map((value, at) => (at % Math.ceil(1 / part) === step % 3 ? value : 0));
}

export type Assign = Extract<CoordinatorMessage, { type: "assign" }>;

/** What each sample of a made-up result adds, in multiples of 2⁻²⁴; 2 and 1 if absent. */
export interface FakeSample {
  readonly loss?: number;
  readonly weight?: number;
  /** What each micro-batch adds to the metrics, and the tables behind them. */
  readonly sums?: readonly number[];
  /** Largest exponent of each block; 120 if absent, and 255 says that a value is not finite. */
  readonly exponent?: number;
  /** The first of its integers, instead of the made-up one. */
  readonly firstSum?: number;
}

/** The frames of the made-up result of a lease. */
export function* fakeResult(
  definition: SessionDefinition,
  assign: Assign,
  sample: FakeSample = {},
): Generator<Uint8Array<ArrayBuffer>> {
  const parameters = parameterLength(definition.graph);
  const kind = assign.work === "train" ? "gradient" : assign.work === "calibrate" ? "calibration" : "evaluation";
  const sizes = {
    metrics: kind === "evaluation" ? evaluationSums(definition.graph) : metricNames(definition.graph).length,
    blocks: blockCount(parameters),
  };
  const layout = upwardLayout(kind, sizes);
  const codec = CODECS[definition.codec];
  const integers = fakeSums(definition, assign);
  if (sample.firstSum !== undefined) integers[0] = sample.firstSum;
  const sums = kind === "gradient" ? codec.encode(integers) : new Uint8Array(0);
  const body = new Uint8Array(layout.sums + sums.byteLength);
  const view = new DataView(body.buffer);
  for (const [index, value] of (sample.sums ?? []).entries()) {
    view.setBigInt64(layout.metrics + index * 8, BigInt(assign.to - assign.from) * BigInt(value * 2 ** 24), true);
  }
  if (kind !== "evaluation") body.fill(sample.exponent ?? 120, layout.maxima, layout.maxima + sizes.blocks);
  body.set(sums, layout.sums);
  const { version, step, lease } = assign;
  const count = BigInt(assign.to - assign.from);
  const sum = (value: number): bigint => count * 4n * BigInt(value * 2 ** 24);
  const [loss, weight] = [sum(sample.loss ?? 2), sum(sample.weight ?? 1)];
  const frame = kind === "gradient" ? codec.frame : "none";
  yield* cutBody({ kind, codec: frame, version, step, lease, clamped: 0, loss, weight }, body);
}

/** Weights that came whole, or as changes of those before. */
interface FakeWeights {
  readonly type: "weights";
  readonly version: number;
  readonly codec: FrameHeader["codec"];
}

export class FakeClient {
  readonly id: string;
  readonly definition: SessionDefinition;
  readonly received: (CoordinatorMessage | FakeWeights)[] = [];
  identity: { client: string; resumeKey: string } | null = null;
  closed: { code: number; reason: string } | null = null;
  /** Highest version seen, to assert that none falls. */
  version = 0;
  steps: number[] = [];
  /** Code of the error that it was told of last. */
  error: string | null = null;
  /** Messages that it sent, of all sockets. */
  sent = 0;
  #socket: WebSocket | null = null;
  #waiting: (() => void)[] = [];

  constructor(id: string, definition: SessionDefinition) {
    this.id = id;
    this.definition = definition;
  }

  async connect(protocols = SUBPROTOCOL): Promise<void> {
    const response = (await request(`/api/sessions/${this.id}/socket`, {
      headers: { Upgrade: "websocket", "Sec-WebSocket-Protocol": protocols },
    })) as unknown as { status: number; webSocket: WebSocket | null };
    const socket = response.webSocket;
    if (socket === null) throw new Error(`the upgrade answered ${response.status}`);
    socket.binaryType = "arraybuffer";
    socket.accept();
    this.#socket = socket;
    this.closed = null;
    socket.addEventListener("message", ({ data }) => this.#take(data as ArrayBuffer));
    socket.addEventListener("close", ({ code, reason }) => {
      if (this.#socket === socket) this.closed = { code, reason };
      this.#wake();
    });
  }

  hello(): void {
    this.send({ type: "hello", engine: "wasm", device: "fake", ...(this.identity ?? {}) });
  }

  send(message: ClientMessage): void {
    this.sendBytes(encodeMessage(message));
  }

  sendBytes(bytes: Uint8Array<ArrayBuffer>): void {
    // As clients do: what a socket that is closed was to be told is void.
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(bytes);
    this.sent += 1;
  }

  /** Whether it has the weights that an assignment is for, or newer ones. */
  holds({ version }: Assign): boolean {
    return version <= this.version;
  }

  drop(): void {
    this.#socket?.close(1000, "gone");
  }

  /** Waits for the first message that `wanted` accepts and takes it out; others stay. */
  async next<T>(wanted: (message: FakeClient["received"][number]) => T | undefined): Promise<T> {
    for (;;) {
      for (const [index, message] of this.received.entries()) {
        const found = wanted(message);
        if (found === undefined) continue;
        this.received.splice(index, 1);
        return found;
      }
      if (this.closed !== null) throw new Error(`closed: ${this.closed.code} ${this.closed.reason}`);
      await this.changed();
    }
  }

  ofType<Type extends CoordinatorMessage["type"]>(type: Type): Promise<Extract<CoordinatorMessage, { type: Type }>> {
    return this.next((message) =>
      message.type === type ? (message as Extract<CoordinatorMessage, { type: Type }>) : undefined,
    );
  }

  ofWeights(): Promise<FakeWeights> {
    return this.next((message) => (message.type === "weights" ? message : undefined));
  }

  /** Resolves at the next message or close. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #take(data: ArrayBuffer): void {
    if (isFrame(data)) {
      const frame = decodeFrame(data);
      if (frame.offset + frame.payload.byteLength === frame.total) {
        this.received.push({ type: "weights", version: frame.version, codec: frame.codec });
      }
    } else this.received.push(decodeCoordinatorMessage(data));
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/**
 * Takes part as long as there is something to do: joins, answers every lease after `rest` ms, ends with its socket.
 * @param sampleOf what `fakeResult` makes up, by lease
 */
export async function takePart(
  client: FakeClient,
  rest = 0,
  sampleOf: (assign: Assign) => FakeSample | Promise<FakeSample> = () => ({}),
): Promise<void> {
  await client.connect();
  client.hello();
  while (client.closed === null || client.received.length > 0) {
    // Work may come before the weights that it is done at.
    const at = client.received.findIndex((each) => each.type !== "assign" || client.holds(each));
    const [message] = at < 0 ? [] : client.received.splice(at, 1);
    if (message === undefined) {
      if (client.closed !== null) return;
      await client.changed();
    } else if (message.type === "assign") {
      if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
      const sample = await sampleOf(message);
      // Its socket may have closed meanwhile.
      if (client.closed !== null) continue;
      for (const frame of fakeResult(client.definition, message, sample)) client.sendBytes(frame);
    } else if (message.type === "welcome" || message.type === "weights") {
      client.version = message.version;
      client.send({ type: "ready", version: message.version });
    } else if (message.type === "error") client.error = message.code;
  }
}
