/** A simulated volunteer: it speaks the real protocol over a simulated network, computes slowly, and has bad habits. */

import { HEADERS } from "../../coordinator/session/visitor.ts";
import { decodeFrame, HEADER_BYTES } from "../../shared/protocol/frames.ts";
import {
  type ClientMessage,
  type CoordinatorMessage,
  decodeCoordinatorMessage,
  encodeMessage,
  isFrame,
} from "../../shared/protocol/messages.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { Line } from "../coordinator/round/line.ts";
import type { Chance, Timeline } from "../coordinator/round/timeline.ts";
import type { Platform, ServerSocket } from "./platform.ts";
import { type Assign, hashOf, resultOf } from "./result.ts";
import type { Fault } from "./scenario.ts";

export interface VolunteerOptions {
  readonly time: Timeline;
  readonly chance: Chance;
  readonly platform: Platform;
  readonly definition: SessionDefinition;
  /** Block of addresses that it is in; results of one block are never compared. */
  readonly block: string;
  /** Always comes back, and has no bad habits. */
  readonly isReliable: boolean;
  /** Kinds of faults that there are. */
  readonly faults: readonly Fault[];
  /** Whether a fault of this kind happens now. */
  readonly happens: (fault: Fault, rate: number) => boolean;
  readonly failed: (error: unknown) => void;
  /** It sent or got something. */
  readonly onEvent: () => void;
  /** What it holds now. */
  readonly onWeights: (version: number, hash: number) => void;
  /** It was given a lease of this number. */
  readonly onLease: (lease: number) => void;
}

interface Held {
  readonly version: number;
  readonly hash: number;
}

/** What may be the habit of a volunteer for as long as it lives. */
const HABITS = ["hang", "slow", "fail", "duplicate", "reorder", "stale", "steal", "corrupt", "deaf", "cut"] as const;
type Habit = (typeof HABITS)[number];

export class Volunteer {
  readonly #options: VolunteerOptions;
  readonly #habit: Habit | null;
  /** Milliseconds a micro-batch, one way, and to set weights. */
  readonly #pace: number;
  readonly #latency: number;
  readonly #loading: number;
  #line: Line | null = null;
  #socket: ServerSocket | null = null;
  #identity: { client: string; resumeKey: string } | null = null;
  #weights: Held | null = null;
  #before: Held | null = null;
  #lease: Assign | null = null;
  /** Every lease that it was given. */
  readonly #given = new Set<number>();
  #last: Uint8Array<ArrayBuffer>[] = [];
  /** Results that wait for the next socket. */
  #later: Uint8Array<ArrayBuffer>[] = [];
  #isPaused = false;
  isOver = false;

  constructor(options: VolunteerOptions) {
    this.#options = options;
    const { chance, isReliable, faults } = options;
    const habits = HABITS.filter((habit) => faults.includes(habit));
    this.#habit = habits.length === 0 ? null : chance.pick(habits);
    this.#pace = chance.magnitude(0.5, !isReliable && chance.happens(0.1) ? 20_000 : 300);
    this.#latency = chance.magnitude(1, 200);
    this.#loading = chance.magnitude(1, 1_000);
  }

  get isConnected(): boolean {
    return this.#line !== null;
  }

  connect(): void {
    if (this.isOver || this.#line !== null) return;
    const { time, chance, platform, block, failed } = this.#options;
    const line = new Line(time, chance, this.#latency);
    this.#line = line;
    this.#lease = null;
    this.#isPaused = false;
    line.up(() => {
      platform
        .call((object) =>
          object.fetch(new Request("http://object/socket", { headers: { [HEADERS.auditBlock]: block } }) as never),
        )
        .then((response) => {
          const socket = (response as unknown as { webSocket: ServerSocket } | null)?.webSocket;
          // It died while it let us in, or we left meanwhile.
          if (socket === undefined) this.#closed(line, 1006);
          else this.#open(line, socket);
        }, failed);
    });
  }

  /** Both ends find out at some later time. */
  cut(): void {
    const [line, socket] = [this.#line, this.#socket];
    if (line === null) return;
    const { time, chance } = this.#options;
    this.#drop();
    if (socket !== null) time.after(chance.magnitude(1, 3_000), () => this.#hangUp(socket, 1006));
    this.#comeBack();
  }

  /** Most micro-batches at a time; 0 pauses and gives up what it computes. */
  setCapacity(microBatches: number): void {
    // What nobody can be told it would do alone: leases that it ignores would be waited for.
    if (this.#socket === null) return;
    this.#isPaused = microBatches === 0;
    if (this.#isPaused) this.#lease = null;
    this.#say({ type: "capacity", microBatches });
  }

  #open(line: Line, socket: ServerSocket): void {
    if (!line.isOpen) {
      this.#hangUp(socket, 1006);
      return;
    }
    this.#socket = socket;
    socket.onmessage = (bytes) => line.down(() => this.#take(line, bytes));
    socket.onclose = (code) => line.down(() => this.#closed(line, code));
    const { chance } = this.#options;
    const identity = this.#identity !== null && chance.happens(0.9) ? this.#identity : {};
    this.#say({ type: "hello", engine: "wasm", device: "simulated", ...identity });
    if (chance.happens(0.3)) this.#say({ type: "capacity", microBatches: Math.round(chance.magnitude(1, 64)) });
  }

  #closed(line: Line, code: number): void {
    if (this.#line !== line) return;
    const socket = this.#socket;
    this.#drop();
    if (socket !== null) this.#hangUp(socket, code);
    // 4200: training is over.
    if (code === 4200) this.isOver = true;
    else this.#comeBack();
  }

  #drop(): void {
    const [lease, weights] = [this.#lease, this.#weights];
    // Goes on computing without a socket.
    if (this.#habit === "reorder" && lease !== null && weights?.version === lease.version) {
      this.#later = resultOf(this.#options.definition, lease, weights.hash);
    }
    if (this.#line !== null) this.#line.isOpen = false;
    this.#line = null;
    this.#socket = null;
    this.#lease = null;
  }

  #hangUp(socket: ServerSocket, code: number): void {
    const { platform, failed } = this.#options;
    this.#options.onEvent();
    platform.hangUp(socket, code, failed);
  }

  #comeBack(): void {
    const { time, chance, isReliable } = this.#options;
    if (!isReliable && chance.happens(0.1)) return;
    time.after(chance.magnitude(50, isReliable ? 2_000 : 20_000), () => this.connect());
  }

  #say(message: ClientMessage): void {
    this.#send(encodeMessage(message));
  }

  #send(bytes: Uint8Array<ArrayBuffer>): void {
    const [line, socket] = [this.#line, this.#socket];
    if (line === null || socket === null) return;
    const { chance, platform, failed, happens, onEvent } = this.#options;
    const sent = this.#habit === "corrupt" && happens("corrupt", 0.1) ? damage(bytes, chance) : bytes;
    line.up(() => {
      onEvent();
      platform.receive(socket, sent, failed);
    });
  }

  #take(line: Line, bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#line !== line) return;
    this.#options.onEvent();
    if (isFrame(bytes.buffer)) {
      const frame = decodeFrame(bytes.buffer);
      if (frame.payload.byteLength !== frame.total) throw new Error("a simulated session's weights are one frame");
      this.#load(line, frame.version, hashOf(frame.payload));
      return;
    }
    const message = decodeCoordinatorMessage(bytes.buffer);
    if (message.type === "welcome") this.#welcome(line, message);
    else if (message.type === "assign") this.#compute(line, message);
    else if (message.type === "revoke") {
      // Some finish what they began all the same.
      if (this.#lease?.lease === message.lease && this.#options.chance.happens(0.7)) this.#lease = null;
    }
  }

  #welcome(line: Line, { client, resumeKey, version }: Extract<CoordinatorMessage, { type: "welcome" }>): void {
    this.#identity = { client, resumeKey };
    const { chance } = this.#options;
    if (chance.happens(0.5)) for (const frame of this.#later.splice(0)) this.#send(frame);
    if (this.#weights?.version === version && chance.happens(0.5)) {
      this.#say({ type: "ready", version });
      return;
    }
    this.#fetch(line, String(version));
  }

  /** Over HTTP; a version that is gone by now is not asked for again. */
  #fetch(line: Line, which: string): void {
    const { platform, failed } = this.#options;
    line.up(() => {
      const read = async (): Promise<{ version: number; bytes: Uint8Array } | null> => {
        const response = await platform.call((object) =>
          object.fetch(new Request(`http://object/weights/${which}`) as never),
        );
        if (response === null || response.status !== 200) return null;
        const version = Number(response.headers.get("X-Commonweight-Version"));
        const bytes = new Uint8Array(await response.arrayBuffer());
        // An answer is held as messages are, until what was written before it is durable.
        await new Promise<void>((resolve) => platform.gate(resolve));
        return { version, bytes };
      };
      read().then((body) => {
        line.down(() => {
          if (this.#line !== line) return;
          if (body === null) this.#fetch(line, "latest");
          else this.#load(line, body.version, hashOf(body.bytes));
        });
      }, failed);
    });
  }

  #load(line: Line, version: number, hash: number): void {
    const { time, chance, happens, onWeights } = this.#options;
    onWeights(version, hash);
    if (this.#habit === "deaf" && happens("deaf", 0.2)) return;
    time.after(this.#loading * (0.5 + chance.next()), () => {
      if (this.#line !== line || (this.#weights !== null && this.#weights.version > version)) return;
      if (this.#weights?.version !== version) this.#before = this.#weights;
      this.#weights = { version, hash };
      this.#say({ type: "ready", version });
    });
  }

  #compute(line: Line, assign: Assign): void {
    // Assigned before the coordinator heard of the pause.
    this.#given.add(assign.lease);
    this.#options.onLease(assign.lease);
    if (this.#isPaused) return;
    for (const frame of this.#later.splice(0)) this.#send(frame);
    this.#lease = assign;
    const { time, chance, happens } = this.#options;
    if (this.#habit === "hang" && happens("hang", 0.5)) return;
    const work = this.#pace * (assign.to - assign.from) * (0.7 + 0.6 * chance.next());
    const isLate = this.#habit === "slow" && happens("slow", 0.5);
    time.after(isLate ? chance.magnitude(9_000, 40_000) : work, () => {
      if (this.#line !== line || this.#lease?.lease !== assign.lease) return;
      this.#lease = null;
      this.#answer(assign);
    });
  }

  #answer(assign: Assign): void {
    const { chance, definition, happens } = this.#options;
    const weights = this.#weights;
    if (weights?.version !== assign.version) {
      this.#say({ type: "failed", lease: assign.lease, code: "other-weights", message: "these weights are not held" });
      return;
    }
    const habit = this.#habit !== null && happens(this.#habit, 0.3) ? this.#habit : null;
    if (habit === "fail") {
      this.#say({ type: "failed", lease: assign.lease, code: "simulated", message: "it could not" });
      return;
    }
    const before = this.#before;
    if (habit === "stale" && before !== null) {
      const late = { ...assign, version: before.version, step: Math.max(0, assign.step - 1) };
      for (const frame of resultOf(definition, late, before.hash)) this.#send(frame);
    }
    const lease = assign.lease + chance.pick([-3, -2, -1, 1_000]);
    // With one of its own it would be a lie about what it computed, which nobody can see.
    if (habit === "steal" && lease > 0 && !this.#given.has(lease)) {
      for (const frame of resultOf(definition, { ...assign, lease }, weights.hash)) this.#send(frame);
    }
    const frames = resultOf(definition, assign, weights.hash);
    if (habit === "cut" || habit === "reorder") {
      if (habit === "reorder") this.#later = frames;
      this.cut();
      return;
    }
    for (const frame of frames) this.#send(frame);
    if (habit === "duplicate") for (const frame of [...frames, ...this.#last]) this.#send(frame);
    this.#last = frames;
  }
}

/**
 * Flips a bit, or cuts or lengthens. Damage that no check can see, in integers that are as likely as others, is left out: a line is
 * not what changes them, and who lies is not told from who computes otherwise.
 */
function damage(bytes: Uint8Array<ArrayBuffer>, chance: Chance): Uint8Array<ArrayBuffer> {
  const isTensor = isFrame(bytes.buffer);
  const kind = chance.integer(0, 2);
  if (kind < 2) {
    const length = kind === 0 ? chance.integer(0, bytes.byteLength - 1) : bytes.byteLength + chance.integer(1, 64);
    const other = new Uint8Array(length);
    other.set(bytes.subarray(0, length));
    // Of a length that it says itself, so that only the session's own sizes can tell.
    if (isTensor && length >= HEADER_BYTES && chance.happens(0.7)) {
      const view = new DataView(other.buffer);
      view.setUint32(44, length - HEADER_BYTES, true);
      view.setUint32(48, length - HEADER_BYTES, true);
    }
    return other;
  }
  const flipped = bytes.slice();
  // Magic, protocol, kind, codec and the lengths; or the first bytes of a message.
  const at = isTensor ? chance.pick([0, 4, 5, 6, 7, 44, 45, 46, 48, 49, 50]) : 0;
  flipped[at] = (flipped[at] ?? 0) ^ (1 << chance.integer(0, 7));
  return flipped;
}
