/** A simulated volunteer: its machine, its network and its bad habits. */

import type { Lease } from "../../../coordinator/round/index.ts";
import type { Coordinator, Member } from "./coordinator.ts";
import { Line } from "./line.ts";
import type { Chance, Timeline } from "./timeline.ts";

/** What a volunteer does wrong, now and then. */
const TEMPERS = [
  "steady",
  /** Never answers a lease. */
  "hangs",
  /** Answers just after its lease ran out. */
  "late",
  /** Says that it could not. */
  "fails",
  /** Answers twice, and earlier leases again. */
  "repeats",
  /** Answers for other weights. */
  "stale",
  /** Answers somebody else's lease, or one that never was. */
  "steals",
  /** Is cut off when it should answer. */
  "crashes",
  /** Does not set the weights that it is sent. */
  "deaf",
] as const;
type Temper = (typeof TEMPERS)[number];

export interface VolunteerOptions {
  readonly id: string;
  readonly time: Timeline;
  readonly chance: Chance;
  readonly coordinator: Coordinator;
  /** Always comes back, and has no bad habits. */
  readonly isReliable: boolean;
  readonly misbehaves: () => boolean;
}

export class Volunteer implements Member {
  readonly id: string;
  readonly #time: Timeline;
  readonly #chance: Chance;
  readonly #coordinator: Coordinator;
  readonly #isReliable: boolean;
  readonly #misbehaves: () => boolean;
  readonly #temper: Temper;
  /** Milliseconds a micro-batch. */
  readonly #pace: number;
  /** Milliseconds one way. */
  readonly #latency: number;
  /** Milliseconds to set new weights. */
  readonly #loading: number;
  #line: Line | null = null;
  #isPaused = false;
  #version = 0;
  #lease: Lease | null = null;
  #answered: Lease | null = null;

  constructor({ id, time, chance, coordinator, isReliable, misbehaves }: VolunteerOptions) {
    this.id = id;
    this.#time = time;
    this.#chance = chance;
    this.#coordinator = coordinator;
    this.#isReliable = isReliable;
    this.#misbehaves = misbehaves;
    this.#temper = isReliable ? "steady" : chance.pick(TEMPERS);
    this.#pace = chance.magnitude(0.5, chance.happens(0.1) ? 40_000 : 1_500);
    this.#latency = chance.magnitude(1, 200);
    this.#loading = chance.magnitude(1, 3_000);
  }

  get isConnected(): boolean {
    return this.#line !== null;
  }

  /** With a fresh page; the coordinator may still take the line before it for alive. */
  connect(): void {
    if (this.#line !== null) this.#line.isOpen = false;
    const line = new Line(this.#time, this.#chance, this.#latency);
    this.#line = line;
    this.#version = 0;
    this.#lease = null;
    this.#isPaused = false;
    line.up(() => this.#coordinator.hello(line, this));
  }

  /** The coordinator finds out at some later time, or never. */
  cut(): void {
    const line = this.#line;
    if (line === null) return;
    line.isOpen = false;
    this.#line = null;
    this.#lease = null;
    if (this.#chance.happens(0.9))
      this.#time.after(this.#chance.magnitude(1, 3_000), () => this.#coordinator.closed(line));
    if (!this.#isReliable && this.#chance.happens(0.2)) return;
    this.#time.after(this.#chance.magnitude(50, 20_000), () => {
      if (this.#line === null) this.connect();
    });
  }

  /** Most micro-batches at a time; 0 pauses and gives up what it computes. */
  setCapacity(microBatches: number): void {
    this.#isPaused = microBatches === 0;
    if (this.#isPaused) this.#lease = null;
    const line = this.#line;
    line?.up(() => this.#coordinator.setCapacity(line, microBatches));
  }

  load(version: number): void {
    if (this.#temper === "deaf" && this.#misbehaves()) return;
    const line = this.#line;
    this.#time.after(this.#loading * (0.5 + this.#chance.next()), () => {
      if (line === null || this.#line !== line || this.#version >= version) return;
      this.#version = version;
      line.up(() => this.#coordinator.ready(line, version));
      const waiting = this.#lease;
      if (waiting?.version === version) this.#begin(waiting);
    });
  }

  compute(lease: Lease): void {
    // Assigned before the coordinator heard of the pause.
    if (this.#isPaused) return;
    this.#lease = lease;
    // Assigned with the weights that it is computed at.
    if (lease.version <= this.#version) this.#begin(lease);
  }

  #begin(lease: Lease): void {
    const temper = this.#misbehaves() ? this.#temper : "steady";
    if (temper === "hangs") return;
    const work = this.#pace * (lease.to - lease.from) * (0.7 + 0.6 * this.#chance.next());
    // Just too late is worse than much too late: whoever took over is still at it.
    const lateness = Math.max(0, lease.deadline - this.#time.now) + this.#chance.magnitude(1, 3_000);
    const line = this.#line;
    this.#time.after(temper === "late" ? lateness : work, () => {
      if (line === null || this.#line !== line || this.#lease?.id !== lease.id) return;
      this.#lease = null;
      this.#answer(line, lease, temper);
    });
  }

  /** Some finish what they began all the same. */
  revoke(lease: number): void {
    if (this.#lease?.id === lease && this.#chance.happens(0.7)) this.#lease = null;
  }

  #answer(line: Line, lease: Lease, temper: Temper): void {
    const { id, version } = lease;
    if (temper === "crashes") {
      this.cut();
      return;
    }
    if (temper === "fails") {
      line.up(() => this.#coordinator.noteFailure(line, id));
      return;
    }
    const send = (result: Lease): void => line.up(() => this.#coordinator.takeResult(line, result));
    if (temper === "stale") send({ ...lease, version: version - 1 });
    if (temper === "steals") send({ ...lease, id: id + this.#chance.pick([-3, -2, -1, 1, 2, 3]) });
    send(lease);
    if (temper === "repeats") {
      send(lease);
      if (this.#answered !== null) send(this.#answered);
    }
    this.#answered = lease;
  }
}
