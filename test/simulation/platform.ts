/**
 * The platform under one Durable Object, in virtual time: its storage, its alarm, its sockets, the gate that holds what it sends
 * until what it wrote is durable, its sleep, and its death at any write. The object is the real `TrainingSession`.
 *
 * Left out: time that code takes, limits of CPU, and R2, whose answers are at once.
 */

import { createHash, timingSafeEqual } from "node:crypto";
import type { TrainingSession } from "../../coordinator/session/session.ts";
import type { Chance, Timeline } from "../coordinator/round/timeline.ts";
import { InvariantError } from "../coordinator/round/witness.ts";
import { Database } from "./database.ts";

/** Milliseconds since 1970 at which virtual time begins. */
const EPOCH = 1_700_000_000_000;

const FULL = "database or disk is full";
/** Chance that a write fails meanwhile: there may be room for a small one. */
const FAILURES = 0.7;
const isFullDisk = (error: unknown): boolean => error instanceof Error && error.message === FULL;

/** The object's memory is gone: nothing that goes on after it counts. */
class Died extends Error {}

/** One awakening. */
interface Life {
  isOver: boolean;
  /** Handlers that have not returned. */
  handlers: number;
  readonly timers: Set<number>;
  readonly object: TrainingSession;
}

/** What is told of what the object does, to check it. */
export interface Watcher {
  sent(socket: ServerSocket, bytes: Uint8Array<ArrayBuffer>): void;
  woke(object: TrainingSession): void;
}

export interface PlatformOptions {
  readonly time: Timeline;
  readonly chance: Chance;
  readonly watcher: Watcher;
  /** Chance that a write is the last. */
  readonly deathRate: () => number;
  readonly mutation: PlatformMutation;
}

/** Promises of the platform that a mutation breaks. */
export interface PlatformMutation {
  readonly sendsBeforeDurable?: boolean;
  readonly tearsTransactions?: boolean;
  readonly losesAlarms?: boolean;
}

/** The coordinator's end of a socket. */
export class ServerSocket {
  readonly platform: Platform;
  readyState: number = WebSocket.OPEN;
  onmessage: (bytes: Uint8Array<ArrayBuffer>) => void = () => {};
  onclose: (code: number) => void = () => {};
  #attachment: unknown = null;
  readonly queue: Uint8Array<ArrayBuffer>[] = [];
  isBusy = false;

  constructor(platform: Platform) {
    this.platform = platform;
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.readyState !== WebSocket.OPEN) throw new TypeError("the socket is closed");
    this.platform.gate(() => {
      this.platform.watcher.sent(this, bytes);
      this.onmessage(bytes);
    });
  }

  close(code = 1000): void {
    if (this.readyState !== WebSocket.OPEN) return;
    this.readyState = WebSocket.CLOSED;
    this.platform.gate(() => this.onclose(code));
  }

  serializeAttachment(value: unknown): void {
    this.#attachment = structuredClone(value);
  }

  deserializeAttachment(): unknown {
    return structuredClone(this.#attachment);
  }
}

export class Platform {
  readonly watcher: Watcher;
  readonly #time: Timeline;
  readonly #chance: Chance;
  readonly #deathRate: () => number;
  readonly #mutation: PlatformMutation;
  readonly #database: Database;
  readonly #sockets = new Set<ServerSocket>();
  #life: Life | null = null;
  /** What was sent after writes that are not durable yet. */
  #held: (() => void)[] = [];
  #commitSet = false;
  #alarm: number | null = null;
  #durableAlarm: number | null = null;
  #timers = 0;
  #ahead = 0;
  /** There is no room for what is written. */
  isFull = false;
  readonly counts = { writes: 0, deaths: 0, sleeps: 0, alarms: 0, messages: 0, wakes: 0 };

  constructor({ time, chance, watcher, deathRate, mutation }: PlatformOptions) {
    this.#time = time;
    this.#chance = chance;
    this.watcher = watcher;
    this.#deathRate = deathRate;
    this.#mutation = mutation;
    this.#database = new Database({ write: () => this.#write() }, mutation.tearsTransactions === true);
  }

  /** Looks at the object without an event, if it is awake; it may die of being looked at, for that restores it from storage. */
  inspect<Result>(look: (object: TrainingSession) => Result): Result | null {
    if (this.#life === null) return null;
    try {
      return look(this.#life.object);
    } catch (error) {
      if (error instanceof Died || isFullDisk(error)) return null;
      throw error;
    }
  }

  /** Whether something written is not durable yet: no answer has gone out since. */
  get isPending(): boolean {
    return this.#database.isOpen;
  }

  close(): void {
    this.#end();
    this.#database.close();
    if (current === this) current = null;
  }

  /** An event for the object, which wakes for it. Answers null where it dies of it. */
  async call<Result>(handle: (object: TrainingSession) => Result | Promise<Result>): Promise<Result | null> {
    current = this;
    let life: Life | null = null;
    try {
      life = this.#life ?? this.#awake();
      life.handlers += 1;
      const result = await handle(life.object);
      return life.isOver ? null : result;
    } catch (error) {
      if (error instanceof Died || life?.isOver === true || (life === null && this.#life === null)) return null;
      if (error instanceof InvariantError) throw error;
      // Whoever asked is told that it failed.
      if (isFullDisk(error)) return null;
      throw new InvariantError(`the object threw: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
    } finally {
      if (life !== null) life.handlers -= 1;
    }
  }

  /** A socket's next message is read after the one before has been dealt with. */
  receive(socket: ServerSocket, bytes: Uint8Array<ArrayBuffer>, failed: (error: unknown) => void): void {
    socket.queue.push(bytes);
    const next = (): void => {
      const message = socket.queue.shift();
      if (message === undefined || socket.isBusy || !this.#sockets.has(socket)) return;
      socket.isBusy = true;
      this.counts.messages += 1;
      this.call((object) => object.webSocketMessage(socket as unknown as WebSocket, message.slice().buffer)).then(
        () => {
          socket.isBusy = false;
          next();
        },
        failed,
      );
    };
    next();
  }

  /** The other end is gone; the object is told. */
  hangUp(socket: ServerSocket, code: number, failed: (error: unknown) => void): void {
    if (!this.#sockets.delete(socket)) return;
    socket.readyState = WebSocket.CLOSED;
    this.call((object) => object.webSocketClose(socket as unknown as WebSocket, code)).catch(failed);
  }

  has(socket: ServerSocket): boolean {
    return this.#sockets.has(socket);
  }

  /** Hibernation, where nothing is pending: memory is lost, sockets and what is attached to them are not. */
  sleep(): boolean {
    const life = this.#life;
    if (life === null || life.handlers > 0 || life.timers.size > 0 || this.#database.isOpen) return false;
    this.counts.sleeps += 1;
    this.#end();
    return true;
  }

  /** Death: what is not durable never was, and every socket is cut. */
  die(): void {
    this.counts.deaths += 1;
    this.#database.rollBack();
    this.#held = [];
    this.#alarm = this.#durableAlarm;
    this.#end();
    for (const socket of this.#sockets) {
      socket.readyState = WebSocket.CLOSED;
      socket.onclose(1006);
    }
    this.#sockets.clear();
    this.#ringLater();
  }

  gate(send: () => void): void {
    const life = this.#life;
    if (life === null || life.isOver) return;
    if (this.#database.isOpen && this.#mutation.sendsBeforeDurable !== true) this.#held.push(send);
    else send();
  }

  setTimer(run: () => void, delay: number): number {
    const life = this.#life;
    const id = ++this.#timers;
    if (life === null || life.isOver) return id;
    life.timers.add(id);
    this.#time.after(Math.max(1, delay), () => {
      if (life.isOver || !life.timers.delete(id)) return;
      void this.call(() => run()).catch((error: unknown) => this.onError(error));
    });
    return id;
  }

  clearTimer(id: number): void {
    this.#life?.timers.delete(id);
  }

  /** Where an error goes that no caller waits for. */
  onError: (error: unknown) => void = () => {};

  /** Bytes of seeded chance. */
  fill(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) bytes[at] = this.#chance.integer(0, 255);
  }

  now(): number {
    return EPOCH + Math.floor(this.#ahead + this.#time.now);
  }

  /** Turns the clock so many milliseconds ahead, or back. Timers go by the time that passes, alarms by the clock. */
  turnClock(milliseconds: number): void {
    this.#ahead += milliseconds;
    this.#ringLater();
  }

  /** A digest takes a moment, in which other messages come. */
  later<Result>(result: Result): Promise<Result> {
    const life = this.#life;
    return new Promise((resolve) => {
      this.#time.after(this.#chance.happens(0.5) ? 0 : this.#chance.integer(0, 3), () => {
        if (life?.isOver !== true) resolve(result);
      });
    });
  }

  #end(): void {
    if (this.#life !== null) this.#life.isOver = true;
    this.#life = null;
  }

  #awake(): Life {
    if (make === null) throw new Error("install the platform first");
    this.counts.wakes += 1;
    const life: Life = { isOver: false, handlers: 0, timers: new Set(), object: null as unknown as TrainingSession };
    this.#life = life;
    try {
      (life as { object: TrainingSession }).object = make(this.#context(life), { BUCKET: bucket() });
    } catch (error) {
      this.#end();
      throw error;
    }
    this.watcher.woke(life.object);
    return life;
  }

  /** Before each write. */
  #write(): void {
    if (this.#life === null) throw new Died("written after its end");
    this.counts.writes += 1;
    if (this.isFull && this.#chance.happens(FAILURES)) throw new Error(FULL);
    if (this.#chance.happens(this.#deathRate())) {
      this.die();
      throw new Died("at a write");
    }
    // Or a moment after it, when it may be durable and may not.
    if (this.#chance.happens(this.#deathRate())) {
      const life = this.#life;
      this.#time.after(this.#chance.magnitude(0.1, 20), () => {
        if (!life.isOver) this.die();
      });
    }
    this.#commitLater();
  }

  #commitLater(): void {
    if (this.#commitSet) return;
    this.#commitSet = true;
    this.#time.after(this.#chance.magnitude(0.5, 20), () => {
      this.#commitSet = false;
      if (!this.#database.isOpen) return;
      // The gate stays closed, and the object is over.
      if (this.isFull && this.#chance.happens(FAILURES)) {
        this.die();
        return;
      }
      this.#database.commit();
      this.#durableAlarm = this.#alarm;
      for (const send of this.#held.splice(0)) send();
    });
  }

  #setAlarm(time: number | null): void {
    if (this.#mutation.losesAlarms === true) return;
    this.#database.begin();
    this.#write();
    this.#alarm = time;
    this.#ringLater();
  }

  #ringLater(): void {
    const due = this.#alarm;
    if (due === null) return;
    const ahead = this.#ahead;
    this.#time.at(due - EPOCH - ahead, () => {
      if (this.#alarm !== due || this.#ahead !== ahead) return;
      this.#alarm = null;
      this.counts.alarms += 1;
      this.call((object) => object.alarm()).then(
        (result) => {
          // At least once: whoever died of it is called again.
          if (result === null && this.#alarm === null) {
            this.#alarm = this.now() + 1_000;
            this.#ringLater();
          }
        },
        (error: unknown) => this.onError(error),
      );
    });
  }

  #context(life: Life): DurableObjectState {
    const only = <Args extends unknown[], Result>(act: (...args: Args) => Result): ((...args: Args) => Result) => {
      return (...args) => {
        if (life.isOver) throw new Died("after its end");
        return act(...args);
      };
    };
    const database = this.#database;
    const sql = {
      exec: only((query: string, ...bindings: never[]) => database.exec(query, ...bindings)),
      databaseSize: 0,
    };
    const storage = {
      sql,
      transactionSync: only((closure: () => unknown) => database.transactionSync(closure)),
      setAlarm: only((time: number) => Promise.resolve(this.#setAlarm(time))),
      deleteAlarm: only(() => Promise.resolve(this.#setAlarm(null))),
      deleteAll: only(() => Promise.resolve()),
    };
    const context = {
      storage,
      getWebSockets: () => [...this.#sockets].filter(({ readyState }) => readyState === WebSocket.OPEN),
      acceptWebSocket: only((socket: ServerSocket) => this.#sockets.add(socket)),
      setWebSocketAutoResponse: () => {},
      waitUntil: (work: Promise<unknown>) => {
        work.catch((error: unknown) => {
          if (!(error instanceof Died) && !life.isOver) this.onError(error);
        });
      },
      abort: (reason: string) => {
        if (life.isOver) return;
        if (!lastError.includes(FULL)) {
          this.onError(new InvariantError(`the object started again by itself: ${reason}, ${lastError}`));
        }
        this.die();
      },
    };
    return context as unknown as DurableObjectState;
  }
}

type Make = (ctx: DurableObjectState, env: unknown) => TrainingSession;

/** The platform whose object runs. */
let current: Platform | null = null;
let make: Make | null = null;
let lastError = "";

/** A bucket that keeps nothing: the list of sessions is not what is simulated. */
const bucket = (): unknown => ({ put: async () => null, get: async () => null, delete: async () => {} });

/** What the process really has, for whoever measures. */
export const real = { now: performance.now.bind(performance), setImmediate };

/** Puts virtual time, seeded chance and the platform's own objects in the place of Node's, for the rest of the process. */
export function install(session: new (...args: never[]) => TrainingSession): void {
  make = (ctx, env) =>
    new (session as unknown as new (ctx: DurableObjectState, env: unknown) => TrainingSession)(ctx, env);
  const require = (): Platform => {
    if (current === null) throw new Error("no object runs");
    return current;
  };
  const setTimer = (run: () => void, delay = 0): number => require().setTimer(run, delay);
  const replaced: Record<string, unknown> = {
    setTimeout: setTimer,
    clearTimeout: (id: number) => current?.clearTimer(id),
    WebSocketRequestResponsePair: class {},
    // Volunteers hold the coordinator's end, and hear of what it sends.
    WebSocketPair: class {
      readonly 1 = new ServerSocket(require());
      readonly 0 = this[1];
    },
    // Node's own refuses 101 and knows no socket.
    Response: class extends Response {
      override readonly webSocket: WebSocket | null;
      constructor(body?: BodyInit | null, init: ResponseInit = {}) {
        super(body, { ...init, status: init.status === 101 ? 200 : (init.status ?? 200) });
        this.webSocket = init.webSocket ?? null;
      }
    },
  };
  Object.assign(globalThis, replaced);
  Date.now = () => require().now();
  performance.now = () => require().now() - EPOCH;
  crypto.getRandomValues = ((bytes: Uint8Array) => {
    require().fill(bytes);
    return bytes;
  }) as typeof crypto.getRandomValues;
  const digest = (_: string, bytes: Uint8Array): Promise<ArrayBuffer> =>
    require().later(new Uint8Array(createHash("sha256").update(bytes).digest()).buffer);
  Object.assign(crypto.subtle, { digest, timingSafeEqual });
  console.error = (...parts: unknown[]) => {
    lastError = parts.map((part) => (part instanceof Error ? part.stack : String(part))).join(" ");
  };
  // Operators are told of refusals and recoveries; here there are thousands, and they are wanted.
  console.warn = () => {};
  const say = console.log;
  console.log = (...parts: unknown[]) => {
    if (!String(parts[0]).startsWith('{"level":')) say(...parts);
  };
}

/** Lets everything that is ready go on. */
export const settle = (): Promise<void> => new Promise((resolve) => real.setImmediate(resolve));
