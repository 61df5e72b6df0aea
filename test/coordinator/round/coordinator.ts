/**
 * The shell around a simulated round, as the Durable Object is around the real one: it carries out effects, makes pieces
 * durable, and may lose its memory at any point, in the middle of an event's effects too. What is durable, and what
 * sockets have attached, is all that it then knows.
 */

import type { Lease, RoundEffect, RoundEvent, Stage } from "../../../coordinator/round/index.ts";
import { epochOf, evaluatesAfter, type RunPlan, workMicroBatches, workSamples } from "../../../shared/session/plan.ts";
import type { Line } from "./line.ts";
import type { Chance, Timeline } from "./timeline.ts";
import { type Advance, InvariantError, RoundWitness } from "./witness.ts";
import { samplesOf, sumOf } from "./work.ts";

const MOST_EVENTS = 300_000;

/** The far end of a line. */
export interface Member {
  readonly id: string;
  load(version: number): void;
  compute(lease: Lease): void;
  revoke(lease: number): void;
}

/** What of a client survives the coordinator's sleep. */
interface Attachment {
  readonly member: Member;
  version: number | null;
  lease: Lease | null;
  capacity: number | null;
  /** Weights sent and not acknowledged; not remembered over a sleep. */
  sent: number | null;
}

export interface Counts {
  events: number;
  restarts: number;
  /** Leases that stayed valid over a restart. */
  restored: number;
  /** Results accepted after their lease had run out. */
  late: number;
  /** Leases ended because somebody else's result came first. */
  overtaken: number;
  failed: number;
  duplicate: number;
  stale: number;
  foreign: number;
}

export interface CoordinatorOptions {
  readonly time: Timeline;
  readonly chance: Chance;
  readonly plan: RunPlan;
  /** Chance that an event, or a commit, is the last before the memory is lost. */
  readonly restartRate: () => number;
  readonly advance: Advance | undefined;
}

export class Coordinator {
  readonly #time: Timeline;
  readonly #chance: Chance;
  readonly #plan: RunPlan;
  readonly #restartRate: () => number;
  readonly #advance: Advance | undefined;
  /** Open lines whose client said hello. */
  readonly #lines = new Map<Line, Attachment>();

  /** Durable. */
  #stage: Stage = "calibrate";
  #step = 0;
  #version = 1;
  #status: "running" | "paused" = "running";
  #incarnation = 0;
  readonly committed: string[] = [];
  /** Samples that each client's accepted training results covered. */
  readonly credits = new Map<string, number>();
  trainedSamples = 0;

  /** Lost in a restart. */
  #witness: RoundWitness | null = null;
  #sum = 0;
  #samples = 0;
  #gains = new Map<string, number>();
  /** Counts restarts: what was begun before one does not go on after it. */
  #life = 0;

  /** Hash of every event and effect. */
  trace = 0;
  readonly counts: Counts = {
    events: 0,
    restarts: 0,
    restored: 0,
    late: 0,
    overtaken: 0,
    failed: 0,
    duplicate: 0,
    stale: 0,
    foreign: 0,
  };

  constructor({ time, chance, plan, restartRate, advance }: CoordinatorOptions) {
    this.#time = time;
    this.#chance = chance;
    this.#plan = plan;
    this.#restartRate = restartRate;
    this.#advance = advance;
  }

  get isDone(): boolean {
    return this.#stage === "done";
  }

  get stage(): string {
    return `${this.#stage} of step ${this.#step}`;
  }

  hello(line: Line, member: Member): void {
    if (this.isDone) return;
    this.#awake();
    for (const [known, attachment] of this.#lines) {
      if (attachment.member.id !== member.id) continue;
      known.isOpen = false;
      this.#lines.delete(known);
    }
    this.#lines.set(line, { member, version: null, lease: null, capacity: null, sent: null });
    const version = this.#version;
    line.down(() => member.load(version));
    this.#tell({ type: "joined", time: this.#time.now, client: member.id, version: null, lease: null });
  }

  closed(line: Line): void {
    const attachment = this.#lines.get(line);
    if (attachment === undefined || this.isDone) return;
    this.#lines.delete(line);
    if (this.#witness === null) return;
    this.#tell({ type: "left", time: this.#time.now, client: attachment.member.id });
  }

  ready(line: Line, version: number): void {
    const attachment = this.#receive(line);
    if (attachment === undefined) return;
    if (attachment.sent !== null && version >= attachment.sent) attachment.sent = null;
    attachment.version = version;
    this.#tell({ type: "ready", time: this.#time.now, client: attachment.member.id, version });
    this.#sendWeights(line, attachment);
  }

  setCapacity(line: Line, microBatches: number): void {
    const attachment = this.#receive(line);
    if (attachment === undefined) return;
    attachment.capacity = microBatches;
    if (microBatches === 0) attachment.lease = null;
    this.#tell({ type: "capacity", time: this.#time.now, client: attachment.member.id, microBatches });
  }

  takeResult(line: Line, { id, version, step }: Pick<Lease, "id" | "version" | "step">): void {
    const attachment = this.#receive(line);
    if (attachment === undefined) return;
    if (attachment.lease?.id === id) attachment.lease = null;
    this.#tell({ type: "result", time: this.#time.now, client: attachment.member.id, lease: id, version, step });
  }

  noteFailure(line: Line, lease: number): void {
    const attachment = this.#receive(line);
    if (attachment === undefined) return;
    if (attachment.lease?.id === lease) attachment.lease = null;
    this.#tell({ type: "failed", time: this.#time.now, client: attachment.member.id, lease });
  }

  control(action: "pause" | "resume"): void {
    if (this.isDone) return;
    this.#awake();
    this.#status = action === "pause" ? "paused" : "running";
    this.#tell({ type: "control", time: this.#time.now, action });
  }

  tick(): void {
    if (!this.isDone) this.#tell({ type: "tick", time: this.#time.now });
  }

  /** The memory is lost. The alarm wakes it, if nobody does before. */
  restart(): void {
    this.counts.restarts += 1;
    this.#life += 1;
    this.#witness = null;
    this.#clearSums();
    const life = this.#life;
    this.#time.after(this.#chance.integer(1, 5_000), () => {
      if (life === this.#life) this.tick();
    });
  }

  #receive(line: Line): Attachment | undefined {
    if (this.isDone) return undefined;
    this.#awake();
    return this.#lines.get(line);
  }

  #isFatal(): boolean {
    return this.#chance.happens(this.#restartRate());
  }

  /** One event into the round, and its effects out of it, or as many as were carried out before the memory was lost. */
  #tell(event: RoundEvent): void {
    const witness = this.#awake();
    const life = this.#life;
    this.counts.events += 1;
    if (this.counts.events > MOST_EVENTS) throw new InvariantError(`no end after ${MOST_EVENTS} events`);
    const effects = witness.advance(event);
    this.#note(event, effects);
    const isFatal = this.#isFatal();
    const carriedOut = isFatal ? this.#chance.integer(0, effects.length) : effects.length;
    for (const effect of effects.slice(0, carriedOut)) this.#carryOut(effect);
    if (isFatal && life === this.#life) this.restart();
  }

  #note(event: RoundEvent, effects: readonly RoundEffect[]): void {
    const text = JSON.stringify([event, effects]);
    for (let at = 0; at < text.length; at++) this.trace = (Math.imul(this.trace, 31) + text.charCodeAt(at)) | 0;
    const has = (type: RoundEffect["type"]): boolean => effects.some((effect) => effect.type === type);
    if (event.type === "failed") this.counts.failed += 1;
    if (event.type === "joined" && event.lease !== null && !has("revoke")) this.counts.restored += 1;
    for (const effect of effects) {
      if (effect.type === "drop") this.counts[effect.reason] += 1;
      if (effect.type === "accept" && effect.lease.deadline < event.time) this.counts.late += 1;
      if (effect.type === "revoke" && event.type === "result") this.counts.overtaken += 1;
    }
  }

  /** The round, restored from what is durable and what is attached if the memory was lost. */
  #awake(): RoundWitness {
    if (this.#witness !== null) return this.#witness;
    this.#incarnation += 1;
    const [stage, step, version, status] = [this.#stage, this.#step, this.#version, this.#status];
    const start = { stage, step, version, status, nextLease: this.#incarnation * 100_000 };
    this.#witness = new RoundWitness(this.#plan, start, this.#advance);
    const life = this.#life;
    // Those that still compute come first, so that nobody else is given their work.
    const lines = [...this.#lines].sort(([, a], [, b]) => Number(a.lease === null) - Number(b.lease === null));
    for (const [, attachment] of lines) {
      attachment.sent = null;
      const { member, version, lease, capacity } = attachment;
      const told = { time: this.#time.now, client: member.id };
      this.#tell({ type: "joined", ...told, version, lease });
      if (life !== this.#life) return this.#awake();
      if (capacity !== null) this.#tell({ type: "capacity", ...told, microBatches: capacity });
      if (life !== this.#life) return this.#awake();
    }
    for (const [line, attachment] of lines) this.#sendWeights(line, attachment);
    return this.#witness;
  }

  #carryOut(effect: RoundEffect): void {
    switch (effect.type) {
      case "assign": {
        const [line, attachment] = this.#find(effect.client);
        attachment.lease = effect.lease;
        line.down(() => attachment.member.compute(effect.lease));
        break;
      }
      case "revoke": {
        const [line, attachment] = this.#find(effect.client);
        // It may have been written down and may not: a lease that nobody computes then comes back after a restart.
        if (this.#chance.happens(0.5)) attachment.lease = null;
        line.down(() => attachment.member.revoke(effect.lease));
        break;
      }
      case "accept": {
        const { work, step, from, to } = effect.lease;
        const samples = samplesOf(this.#plan, effect.lease);
        this.#sum += sumOf(work, step, from, to);
        this.#samples += samples;
        this.#gains.set(effect.client, (this.#gains.get(effect.client) ?? 0) + samples);
        break;
      }
      case "drop":
        break;
      case "complete":
        this.#beginCommit(effect.work);
        break;
      case "broadcast":
        for (const [line, attachment] of this.#lines) this.#sendWeights(line, attachment);
        break;
      case "wake":
        if (effect.time !== null) this.#setTimer(effect.time);
        break;
      case "compared":
      case "convict":
        throw new InvariantError(`${effect.type} though nothing is audited`);
      default:
        effect satisfies never;
    }
  }

  #find(id: string): [Line, Attachment] {
    for (const entry of this.#lines) if (entry[1].member.id === id) return entry;
    throw new InvariantError(`an effect for ${id}, who is not connected`);
  }

  /** It is to be sent the newest weights. */
  #isBehind({ version, sent }: Attachment): boolean {
    return version !== null && version < this.#version && sent === null && !this.isDone;
  }

  #sendWeights(line: Line, attachment: Attachment): void {
    const version = this.#version;
    if (!this.#isBehind(attachment)) return;
    attachment.sent = version;
    line.down(() => attachment.member.load(version));
  }

  /** A timer dies with the memory; one that is no longer wanted still rings, and does no harm. */
  #setTimer(due: number): void {
    const life = this.#life;
    this.#time.at(due + this.#chance.integer(0, 20), () => {
      if (life === this.#life) this.tick();
    });
  }

  /** Takes a while; what the memory held is lost if it does not live to see the end. */
  #beginCommit(work: Lease["work"]): void {
    const life = this.#life;
    this.#time.after(this.#chance.integer(0, 30), () => {
      if (life === this.#life) this.#commit(work);
    });
  }

  /** Durable first; then the round hears of it, unless the memory is lost between the two. */
  #commit(work: Lease["work"]): void {
    const piece = `${work} ${this.#step}`;
    if (this.#sum !== sumOf(work, this.#step, 0, workMicroBatches(this.#plan, work, this.#step))) {
      throw new InvariantError(`the sum of ${piece} is not that of its micro-batches`);
    }
    const { from, to } = workSamples(this.#plan, work, this.#step);
    if (this.#samples !== to - from) throw new InvariantError(`${this.#samples} samples in ${piece}, not ${to - from}`);
    this.committed.push(piece);
    if (work === "train") {
      this.trainedSamples += this.#samples;
      for (const [id, gain] of this.#gains) this.credits.set(id, (this.credits.get(id) ?? 0) + gain);
    }
    this.#proceed(work);
    this.#clearSums();
    if (this.#isFatal()) {
      this.restart();
      return;
    }
    const [stage, step, version] = [this.#stage, this.#step, this.#version];
    // The real one leaves out those for whose results it has no memory.
    const receivers = [...this.#lines.values()].filter((attachment) => this.#isBehind(attachment));
    const ahead = receivers.filter(() => this.#chance.happens(0.8)).map(({ member }) => member.id);
    this.#tell({ type: "committed", time: this.#time.now, stage, step, version, ahead });
  }

  #proceed(work: Lease["work"]): void {
    const plan = this.#plan;
    const stageAfter = (): Stage => {
      if (this.#step < plan.totalSteps) return "train";
      return plan.testSamples > 0 ? "test" : "done";
    };
    switch (work) {
      case "calibrate":
        this.#stage = "train";
        this.#version += 1;
        break;
      case "train":
        this.#step += 1;
        this.#version += 1;
        this.#stage = evaluatesAfter(plan, this.#step) ? "validate" : stageAfter();
        break;
      case "validate":
        this.#stage = stageAfter();
        // In some runs the best weights were others, and are restored.
        if (this.#stage !== "train" && epochOf(plan, this.#step) % 2 === 1) this.#version += 1;
        break;
      case "test":
        this.#stage = "done";
        break;
      default:
        work satisfies never;
    }
  }

  #clearSums(): void {
    this.#sum = 0;
    this.#samples = 0;
    this.#gains = new Map();
  }
}
