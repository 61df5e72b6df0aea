/**
 * Fakes for the volunteer loop: a coordinator in memory that says only what a test tells it to, an engine whose sums
 * are countable, and a clock that stands still until it is moved. Not the real thing: the real coordinator is tested
 * against the SDK in sdk-node.test.ts.
 */

import { createSha256 } from "../../client/core/digest.ts";
import type { TrainingEvent, TrainingEvents, TrainingEventType } from "../../client/core/events.ts";
import type { Platform, Socket } from "../../client/core/platform.ts";
import { Volunteer, type VolunteerOptions } from "../../client/core/volunteer.ts";
import { valuesOf } from "../../client/engine/bytes.ts";
import type { Contribution, GradientEngine, MicroBatch, ShardTask, Tensor } from "../../client/engine/engine.ts";
import { blockCount } from "../../shared/codec/index.ts";
import { cutBody, decodeFrame, type Frame, weightsLayout } from "../../shared/protocol/frames.ts";
import type { ClientMessage, CoordinatorMessage, Progress } from "../../shared/protocol/messages.ts";
import { decodeClientMessage, encodeMessage, isFrame, SUBPROTOCOL } from "../../shared/protocol/messages.ts";
import type { DatasetManifest } from "../../shared/session/dataset.ts";
import { chunkLayout } from "../../shared/session/dataset.ts";
import type { ColumnSpec, SessionDefinition } from "../../shared/session/definition.ts";

export const SESSION_ID = "0123456789abcdef0123456789abcdef";
export const SERVER = "http://127.0.0.1:9";
export const CLIENT = "c".repeat(32);
export const RESUME_KEY = "d".repeat(32);

/** Milliseconds of real time for something that needs none, such as a hash in a thread of its own, on a busy machine. */
const PATIENCE = 10_000;

/** Lets everything that is ready to run do so, until `condition` holds. */
export async function until(condition: () => boolean, what = "the condition"): Promise<void> {
  for (const end = performance.now() + PATIENCE; !condition(); ) {
    if (performance.now() > end) throw new Error(`${what} did not come about`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Enough turns for anything that is going to happen without time passing. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await new Promise((resolve) => setImmediate(resolve));
  // Asleep for a moment: other threads get on.
  await new Promise((resolve) => setTimeout(resolve, 1));
}

export class FakeClock {
  now = 0;
  readonly #timers = new Map<object, { readonly at: number; readonly callback: () => void }>();

  setTimer = (callback: () => void, milliseconds: number): object => {
    const timer = {};
    this.#timers.set(timer, { at: this.now + milliseconds, callback });
    return timer;
  };

  clearTimer = (timer: object | number): void => {
    this.#timers.delete(timer as object);
  };

  /** Moves time on and runs what falls due, in order. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.now + milliseconds;
    for (;;) {
      await settle();
      const next = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers.delete(next[0]);
      this.now = Math.max(this.now, next[1].at); // late after a sleep
      next[1].callback();
    }
    this.now = end;
    await settle();
  }
}

type Listener = (event: never) => void;

/** The client's end of a socket whose other end is the test. */
export class FakeSocket implements Socket {
  binaryType = "blob";
  protocol = "";
  readyState = 0;
  closedWith: number | null = null;
  /** Says nothing any more, not even to a ping. */
  isDead = false;
  readonly url: string;
  readonly protocols: readonly string[];
  readonly messages: ClientMessage[] = [];
  readonly frames: Frame[] = [];
  readonly bytes: Uint8Array[] = [];
  readonly #listeners = new Map<string, Listener[]>();

  constructor(url: string, protocols: readonly string[]) {
    this.url = url;
    this.protocols = protocols;
  }

  addEventListener(type: string, listener: Listener): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  send(data: Uint8Array<ArrayBuffer> | string): void {
    if (typeof data === "string") {
      if (!this.isDead) this.deliver("pong");
      return;
    }
    const copy = data.slice();
    this.bytes.push(copy);
    if (isFrame(copy.buffer)) this.frames.push(decodeFrame(copy.buffer));
    else this.messages.push(decodeClientMessage(copy.buffer));
  }

  close(code = 1000): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.closedWith = code;
  }

  #fire(type: string, event: unknown): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
  }

  open(protocol = SUBPROTOCOL): void {
    this.readyState = 1;
    this.protocol = protocol;
    this.#fire("open", {});
  }

  say(message: CoordinatorMessage): void {
    this.#fire("message", { data: encodeMessage(message).buffer });
  }

  deliver(data: unknown): void {
    this.#fire("message", { data });
  }

  /** The connection breaks, or the coordinator closes it. */
  drop(code = 1006, reason = ""): void {
    this.readyState = 3;
    this.#fire("close", { code, reason });
  }

  last<Type extends ClientMessage["type"]>(type: Type): Extract<ClientMessage, { type: Type }> | undefined {
    return this.messages.findLast((message) => message.type === type) as never;
  }
}

/**
 * Sums are the number of samples with weight 1, in each of the parameters; the loss is the sum of the first input. A
 * test may hold it up in the middle of a shard.
 */
export class FakeEngine implements GradientEngine {
  readonly kind;
  readonly device = "fake";
  readonly #parameters: number;
  weights: Float32Array | null = null;
  weightsSet = 0;
  tasks: ShardTask[] = [];
  /** Copies of what was fed, by shard. */
  fed: { readonly inputs: Record<string, Tensor>; readonly position: number }[][] = [];
  disposed = false;
  failWith: Error | null = null;
  /** What a sample of weight 1 adds to a sum. */
  perSample = 1;
  #gate: Promise<void> = Promise.resolve();
  #open: () => void = () => {};

  constructor(parameters: number, kind: GradientEngine["kind"] = "wasm") {
    this.#parameters = parameters;
    this.kind = kind;
  }

  /** Stops at the next micro-batch until released. */
  hold(): void {
    this.#gate = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  release(): void {
    this.#open();
  }

  async setWeights(weights: Float32Array): Promise<void> {
    this.weights = weights.slice();
    this.weightsSet += 1;
  }

  begin(task: ShardTask): void {
    this.tasks.push({ ...task, exponents: task.exponents.slice() });
    this.fed.push([]);
  }

  async accumulate({ inputs, position }: MicroBatch): Promise<void> {
    if (this.failWith !== null) throw this.failWith;
    const copy = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, valuesOf(input).slice()]));
    this.fed.at(-1)?.push({ inputs: copy, position });
    await this.#gate;
  }

  async idle(): Promise<void> {
    await this.#gate;
  }

  async take(): Promise<Contribution> {
    const fed = this.fed.at(-1) ?? [];
    const task = this.tasks.at(-1);
    const total = (values: Tensor | undefined) => Array.from(values ?? []).reduce((sum, value) => sum + value, 0);
    const weight = fed.reduce((sum, { inputs }) => sum + total(inputs.weight), 0);
    const loss = fed.reduce((sum, { inputs }) => sum + total(inputs.x), 0);
    return {
      sums:
        task?.work === "gradient" ? new Int32Array(this.#parameters).fill(weight * this.perSample) : new Int32Array(0),
      maxima: task?.work === "evaluate" ? new Uint8Array(0) : new Uint8Array(blockCount(this.#parameters)).fill(120),
      clamped: 0,
      loss: BigInt(Math.round(loss)) << 24n,
      weight: BigInt(weight) << 24n,
      metrics: [7n],
    };
  }

  async predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array> {
    const x = features.x as Float32Array;
    return Float32Array.from({ length: samples }, (_, i) => (x[i * 2] ?? 0) + (this.weights?.[0] ?? 0));
  }

  async dispose(): Promise<void> {
    this.disposed = true;
  }
}

export const sha256 = createSha256(crypto.subtle)!;

/** Cuts columns of stored values into chunks, as a data set's owner does. */
export async function buildDataset(
  columns: readonly (ColumnSpec & { readonly values: ArrayLike<number> })[],
  samples: number,
  chunkSamples: number,
): Promise<{ manifest: DatasetManifest; chunks: Map<string, Uint8Array<ArrayBuffer>> }> {
  const chunks = new Map<string, Uint8Array<ArrayBuffer>>();
  const hashes: string[] = [];
  for (let first = 0; first < samples; first += chunkSamples) {
    const count = Math.min(chunkSamples, samples - first);
    const { offsets, bytes } = chunkLayout(columns, count);
    const chunk = new Uint8Array(bytes);
    columns.forEach(({ dtype, shape, values }, i) => {
      const elements = shape.reduce((size, dimension) => size * dimension, 1);
      const array = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array }[dtype];
      const view = new array(chunk.buffer, offsets[i], count * elements);
      for (let j = 0; j < view.length; j++) view[j] = values[first * elements + j]!;
    });
    const hash = await sha256(chunk);
    hashes.push(hash);
    chunks.set(hash, chunk);
  }
  const specs = columns.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  return {
    manifest: { format: 1, name: "fake", columns: specs, samples, chunkSamples, chunks: hashes, splits: {} },
    chunks,
  };
}

export const PROGRESS: Progress = {
  type: "progress",
  stage: "train",
  status: "running",
  reason: "",
  step: 0,
  totalSteps: 10,
  epoch: 0,
  version: 1,
  loss: null,
  metrics: {},
  validation: null,
  samplesPerSecond: 0,
  clientCount: 1,
  clients: [],
};

type Route = (url: URL) => Response | Promise<Response>;

function aborted(signal: AbortSignal | null | undefined): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
}

/** HTTP by path under the session, and every socket that was opened. */
export class FakeServer {
  readonly routes = new Map<string, Route>();
  readonly requests: string[] = [];
  readonly sockets: FakeSocket[] = [];
  unreachable = false;

  fetch = async (input: string, { signal }: RequestInit = {}): Promise<Response> => {
    const url = new URL(input);
    const path = url.pathname.replace(`/api/sessions/${SESSION_ID}`, "");
    this.requests.push(path);
    if (this.unreachable) throw new TypeError("fetch failed");
    const route = this.routes.get(path) ?? this.routes.get(`${path.split("/").slice(0, 2).join("/")}/*`);
    return route === undefined
      ? Response.json({ error: { code: "unknown-session", message: "nothing here" } }, { status: 404 })
      : Promise.race([route(url), aborted(signal)]);
  };

  openSocket = (url: string, protocols: readonly string[]): FakeSocket => {
    const socket = new FakeSocket(url, protocols);
    this.sockets.push(socket);
    return socket;
  };

  get socket(): FakeSocket {
    return this.sockets.at(-1)!;
  }
}

export function weightsBody(parameters: number, value: number, exponent = 127): Uint8Array<ArrayBuffer> {
  const blocks = blockCount(parameters);
  const layout = weightsLayout(blocks, parameters);
  const body = new Uint8Array(layout.total);
  body.fill(exponent, 0, blocks);
  new Float32Array(body.buffer, layout.weights, parameters).fill(value);
  return body;
}

/** The frames of one version of the weights, all of them `value`. */
export function weightsFrames(parameters: number, version: number, value: number): ArrayBuffer[] {
  const header = { kind: "weights", codec: "float32", version, step: version - 1, lease: 0, clamped: 0 } as const;
  const body = weightsBody(parameters, value);
  return [...cutBody({ ...header, loss: 0n, weight: 0n }, body)].map(({ buffer }) => buffer);
}

/** A volunteer against a fake server that holds one session. */
export class Scene {
  readonly server = new FakeServer();
  readonly clock = new FakeClock();
  readonly events: TrainingEvent[] = [];
  readonly engines: FakeEngine[] = [];
  readonly platform: Platform;
  readonly parameters: number;
  volunteer!: Volunteer;

  constructor(options: {
    definition: SessionDefinition;
    parameters: number;
    manifest: DatasetManifest | null;
    chunks: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  }) {
    const { definition, manifest, chunks, parameters } = options;
    this.parameters = parameters;
    this.server.routes.set("", () => Response.json({ id: SESSION_ID, definition, manifest, progress: PROGRESS }));
    this.server.routes.set("/chunks/*", (url) => {
      const bytes = chunks.get(url.pathname.split("/").at(-1)!);
      return bytes === undefined ? new Response(null, { status: 404 }) : new Response(bytes);
    });
    this.server.routes.set("/weights/1", () => new Response(weightsBody(parameters, 1)));
    this.platform = {
      fetch: this.server.fetch,
      openSocket: this.server.openSocket,
      now: () => this.clock.now,
      date: () => this.clock.now,
      setTimer: this.clock.setTimer,
      clearTimer: this.clock.clearTimer,
      random: () => 0.5,
      sha256,
      chunkCache: null,
      createEngine: async ({ choice }) => {
        const engine = new FakeEngine(parameters, choice === "webgpu" ? "webgpu" : "wasm");
        this.engines.push(engine);
        return engine;
      },
    };
  }

  get engine(): FakeEngine {
    return this.engines.at(-1)!;
  }

  get socket(): FakeSocket {
    return this.server.socket;
  }

  start(options: Partial<VolunteerOptions> = {}): void {
    this.volunteer = new Volunteer(
      {
        address: { id: SESSION_ID, server: SERVER },
        engine: "wasm",
        workers: undefined,
        identity: undefined,
        data: undefined,
        budget: undefined,
        name: undefined,
        share: undefined,
        policies: undefined,
        graphHash: undefined,
        minimumSamples: undefined,
        ...options,
      },
      this.platform,
      (event) => this.events.push(event),
    );
  }

  /** Up to `ready` at version 1. */
  async join(options: Partial<VolunteerOptions> = {}): Promise<void> {
    this.start(options);
    await until(() => this.server.sockets.length === 1, "a socket");
    this.socket.open();
    this.welcome(1);
    await until(() => this.socket.last("ready") !== undefined, "ready");
  }

  welcome(version: number): void {
    this.socket.say({ type: "welcome", client: CLIENT, resumeKey: RESUME_KEY, step: version - 1, version });
  }

  sendWeights(version: number): void {
    for (const frame of weightsFrames(this.parameters, version, version)) this.socket.deliver(frame);
  }

  of<Type extends TrainingEventType>(type: Type): TrainingEvents[Type][] {
    return this.events.filter((event) => event.type === type).map(({ detail }) => detail as TrainingEvents[Type]);
  }
}
