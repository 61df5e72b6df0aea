/**
 * Scripted clients over real WebSockets into the real Durable Object. Their gradients are made up: integers that are a
 * function of (step, micro-batch, parameter) alone, so that every sharding must add up to the same sums. Named fake,
 * because no network is computed here; real engines are used in test/e2e.
 */

import { env, exports } from "cloudflare:workers";
import type { TrainingSession } from "../../coordinator/session/session.ts";
import { decodeFrame, type FrameHeader } from "../../shared/protocol/frames.ts";
import {
  type ClientMessage,
  type CoordinatorMessage,
  decodeCoordinatorMessage,
  encodeMessage,
  isFrame,
  SUBPROTOCOL,
} from "../../shared/protocol/messages.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";

import { type Assign, type FakeSample, fakeResult, tinySession } from "./made-up.ts";

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

export async function createSession(definition: SessionDefinition): Promise<string> {
  const response = await request("/api/sessions", asAdmin({ method: "POST", body: JSON.stringify(definition) }));
  if (response.status !== 201) throw new Error(`not created: ${response.status} ${await response.text()}`);
  return ((await response.json()) as { id: string }).id;
}

export const stubOf = (id: string) => testEnv.SESSION.get(testEnv.SESSION.idFromName(id));

export { type Assign, type FakeSample, fakeResult, tinySession };

/** Weights that came whole, or as changes of those before. */
interface FakeWeights {
  readonly type: "weights";
  readonly version: number;
  readonly codec: FrameHeader["codec"];
}

export class FakeClient {
  readonly id: string;
  readonly definition: SessionDefinition;
  /** Where it connects from; empty for nowhere that is known. */
  readonly address: string;
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

  constructor(id: string, definition: SessionDefinition, address = "") {
    this.id = id;
    this.address = address;
    this.definition = definition;
  }

  async connect(protocols = SUBPROTOCOL, headers: Readonly<Record<string, string>> = {}): Promise<void> {
    const response = (await request(`/api/sessions/${this.id}/socket`, {
      headers: {
        Upgrade: "websocket",
        "Sec-WebSocket-Protocol": protocols,
        ...headers,
        ...(this.address === "" ? {} : { "CF-Connecting-IP": this.address }),
      },
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
