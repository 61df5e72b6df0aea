/**
 * Watches a round from outside: keeps its own, simple account of clients, leases and micro-batches from the events and
 * effects alone, and throws InvariantError at the first effect that should not be there, or is missing. Of rounds without audits.
 */

import {
  advance,
  createRound,
  type Lease,
  type RoundEffect,
  type RoundEvent,
  type RoundStart,
  type RoundState,
  type Stage,
  type Status,
  wouldAccept,
} from "../../../coordinator/round/index.ts";
import { type RunPlan, workMicroBatches } from "../../../shared/session/plan.ts";

export type Advance = (state: RoundState, event: RoundEvent) => RoundEffect[];

export class InvariantError extends Error {
  override name = "InvariantError";
}

function requireThat(claim: boolean, message: () => string): asserts claim {
  if (!claim) throw new InvariantError(message());
}

/** What the machine may keep the last micro-batches back for clients that are still setting weights, in milliseconds. */
const LONGEST_RESERVE = 1_500;
const FAILURES_TOLERATED = 3;
const SHORTEST_LEASE = 10_000;
const SHORTEST_OVERDUE = 1_000;
/** Milliseconds by which events may be out of order without a clock that was set back. */
const DISORDER = 1_000;

interface WatchedClient {
  version: number | null;
  capacity: number;
  failures: number;
  /** Was given work of the open piece. */
  served: boolean;
  /** Did not come for the weights of the piece before. */
  missed: boolean;
  /** Its last lease ran out, and it was silent since. */
  doubted: boolean;
  lease: WatchedLease | null;
}

interface WatchedLease {
  readonly lease: Lease;
  readonly client: string;
  lapsed: boolean;
}

type Verdict = "accept" | "duplicate" | "stale" | "foreign";

const overlap = (a: Lease, b: Lease): boolean => a.from < b.to && b.from < a.to;
const describe = ({ id, work, step, version, from, to }: Lease): string =>
  `lease ${id} (${work} of step ${step}, version ${version}, ${from}..${to})`;

export class RoundWitness {
  readonly #plan: RunPlan;
  readonly #advance: Advance;
  readonly #round: RoundState;
  readonly #clients = new Map<string, WatchedClient>();
  readonly #leases = new Map<number, WatchedLease>();
  /** Whose each lease of the open piece is or was. */
  readonly #owners = new Map<number, string>();
  #stage: Stage;
  #step: number;
  #version: number;
  #status: Status;
  /** Micro-batches that were accepted. */
  #done: Uint8Array;
  #doneCount = 0;
  #committing = false;
  #isBroadcastDue = false;
  #nextLease: number;
  #firstLease: number;
  #time = Number.NEGATIVE_INFINITY;
  #openedAt: number | null = null;
  /** When it is to wake: as it said, and in its own time. */
  #told: number | null = null;
  #wake: number | null = null;
  /** Milliseconds by which the clock was set back so far. */
  #setBack = 0;

  constructor(plan: RunPlan, start: RoundStart, advanceOne: Advance = advance) {
    this.#plan = plan;
    this.#advance = advanceOne;
    this.#round = createRound(plan, start);
    this.#stage = start.stage;
    this.#step = start.step;
    this.#version = start.version;
    this.#status = start.status;
    this.#nextLease = start.nextLease;
    this.#firstLease = start.nextLease;
    this.#done = this.#unopened();
  }

  get round(): RoundState {
    return this.#round;
  }

  /** Advances the round and checks everything that it says. */
  advance(told: RoundEvent): RoundEffect[] {
    const event = this.#inOrder(told);
    const verdict = event.type === "result" ? this.#judge(event) : null;
    const isToAdd = event.type === "result" && wouldAccept(this.#round, event);
    requireThat(isToAdd === (verdict === "accept"), () => `I1: a result that is to be ${verdict} is added, or is not`);
    const refused = this.#note(event);
    if (this.#isOpen()) this.#openedAt ??= event.time;
    const effects = this.#advance(this.#round, told);
    const judged = effects.filter(({ type }) => type === "accept" || type === "drop").length;
    requireThat(judged === (verdict === null ? 0 : 1), () => `${event.type} was answered ${judged} times`);
    for (const effect of effects) this.#check(effect, event, effects, verdict, refused);
    this.#checkAfterwards(event, effects, refused);
    return effects;
  }

  /** In the round's own time, which stands still where the clock is set back, and goes on from there. */
  #inOrder(event: RoundEvent): RoundEvent {
    const behind = this.#time - (event.time + this.#setBack);
    if (behind > DISORDER) this.#setBack += behind;
    this.#time = Math.max(this.#time, event.time + this.#setBack);
    return { ...event, time: this.#time };
  }

  #unopened(): Uint8Array {
    return new Uint8Array(this.#stage === "done" ? 0 : workMicroBatches(this.#plan, this.#stage, this.#step));
  }

  #isOpen(): boolean {
    return this.#status === "running" && this.#stage !== "done" && !this.#committing;
  }

  #anyDone({ from, to }: Lease): boolean {
    for (let at = from; at < to; at++) if (this.#done[at] === 1) return true;
    return false;
  }

  /** What must become of a result. */
  #judge({ client, lease, version, step }: Extract<RoundEvent, { type: "result" }>): Verdict {
    const held = this.#leases.get(lease);
    if (held !== undefined && held.client !== client) return "foreign";
    if (version !== this.#version || step !== this.#step) return "stale";
    if (held !== undefined) return this.#anyDone(held.lease) ? "duplicate" : "accept";
    const owner = this.#owners.get(lease);
    if (owner !== undefined) return owner === client ? "duplicate" : "foreign";
    return lease < this.#firstLease ? "stale" : "foreign";
  }

  /** Brings the account up to date with what happened; returns a lease that must be refused. */
  #note(event: RoundEvent): Lease | null {
    const client = "client" in event ? this.#clients.get(event.client) : undefined;
    switch (event.type) {
      case "joined": {
        if (client !== undefined) this.#end(client);
        const joined: WatchedClient = {
          version: event.version,
          capacity: Number.POSITIVE_INFINITY,
          failures: 0,
          served: false,
          missed: false,
          doubted: false,
          lease: null,
        };
        this.#clients.set(event.client, joined);
        if (event.lease === null) return null;
        if (!this.#canRestore(event.lease)) return event.lease;
        // Of a time that is still to come by a clock that was set back.
        const ahead = Math.max(0, event.lease.assignedAt - event.time);
        const { assignedAt, deadline } = event.lease;
        this.#hold(event.client, { ...event.lease, assignedAt: assignedAt - ahead, deadline: deadline - ahead });
        this.#nextLease = Math.max(this.#nextLease, event.lease.id + 1);
        return null;
      }
      case "left":
        if (client !== undefined) this.#end(client);
        this.#clients.delete(event.client);
        return null;
      case "ready":
        if (client !== undefined) Object.assign(client, { version: event.version, failures: 0, doubted: false });
        return null;
      case "capacity":
        if (client === undefined) return null;
        Object.assign(client, { capacity: event.microBatches, failures: 0, doubted: false });
        if (event.microBatches === 0) this.#end(client);
        return null;
      case "result":
        if (client !== undefined && client.lease?.lease.id === event.lease && event.version === this.#version) {
          if (event.step === this.#step) Object.assign(client, { failures: 0, doubted: false });
        }
        return null;
      case "failed":
        if (client?.lease?.lease.id !== event.lease) return null;
        client.failures += 1;
        client.doubted = false;
        this.#end(client);
        return null;
      case "tick":
        for (const held of this.#leases.values()) {
          if (held.lapsed || held.lease.deadline > event.time) continue;
          held.lapsed = true;
          this.#clients.get(held.client)!.doubted = true;
        }
        return null;
      case "committed":
        this.#stage = this.#status === "stopped" ? "done" : event.stage;
        this.#step = event.step;
        if (event.stage === "done" && this.#status === "running") this.#status = "finished";
        this.#open(event.time);
        this.#isBroadcastDue = event.version > this.#version;
        for (const each of this.#clients.values()) {
          each.missed = !each.served && each.version !== this.#version;
          each.served = false;
        }
        for (const id of event.ahead) {
          const each = this.#clients.get(id);
          const isActive = each !== undefined && each.capacity > 0 && each.failures < FAILURES_TOLERATED;
          if (!isActive || each.version === null || each.missed || each.doubted) continue;
          if (each.lease === null) each.version = event.version;
        }
        this.#version = event.version;
        return null;
      case "disputed":
        if (client?.lease?.lease.id !== event.lease) return null;
        client.doubted = true;
        this.#end(client);
        return null;
      case "control":
        if (this.#stage === "done") return null;
        this.#status = ({ pause: "paused", resume: "running", stop: "stopped", fail: "failed" } as const)[event.action];
        if (event.action === "stop") this.#stage = "done";
        if (event.action === "fail" && this.#committing) this.#open(this.#openedAt);
        return null;
      case "restarted":
        throw new InvariantError("a piece was begun again though nothing is audited");
      default:
        event satisfies never;
        return null;
    }
  }

  #open(time: number | null): void {
    this.#openedAt = time;
    this.#committing = false;
    this.#done = this.#unopened();
    this.#doneCount = 0;
    this.#owners.clear();
    this.#firstLease = this.#nextLease;
  }

  #canRestore(lease: Lease): boolean {
    const isCurrent = lease.work === this.#stage && lease.step === this.#step && lease.version === this.#version;
    if (!this.#isOpen() || !isCurrent || this.#leases.has(lease.id)) return false;
    if (lease.from < 0 || lease.from >= lease.to || lease.to > this.#done.length || this.#anyDone(lease)) return false;
    return ![...this.#leases.values()].some((held) => !held.lapsed && overlap(held.lease, lease));
  }

  #hold(client: string, lease: Lease): void {
    const held = { lease, client, lapsed: false };
    this.#leases.set(lease.id, held);
    this.#owners.set(lease.id, client);
    Object.assign(this.#clients.get(client)!, { lease: held, served: true });
  }

  #end(client: WatchedClient): void {
    if (client.lease !== null) this.#leases.delete(client.lease.lease.id);
    client.lease = null;
  }

  #check(
    effect: RoundEffect,
    event: RoundEvent,
    effects: readonly RoundEffect[],
    verdict: Verdict | null,
    refused: Lease | null,
  ): void {
    switch (effect.type) {
      case "assign":
        this.#checkAssignment(effect.client, effect.lease);
        this.#hold(effect.client, effect.lease);
        this.#nextLease = effect.lease.id + 1;
        break;
      case "accept": {
        const held = this.#leases.get(effect.lease.id);
        requireThat(verdict === "accept", () => `a result that is ${verdict} was accepted: ${describe(effect.lease)}`);
        requireThat(
          event.type === "result" && event.lease === effect.lease.id && event.client === effect.client,
          () => {
            return `${describe(effect.lease)} of ${effect.client} was accepted, and another result had come`;
          },
        );
        requireThat(held?.client === effect.client, () => `${effect.client} had no ${describe(effect.lease)}`);
        const { from, to } = held.lease;
        requireThat(effect.lease.from === from && effect.lease.to === to, () => "the lease's run changed");
        requireThat(!this.#anyDone(held.lease), () => `${describe(held.lease)}: a micro-batch was accepted twice`);
        this.#done.fill(1, from, to);
        this.#doneCount += to - from;
        this.#end(this.#clients.get(effect.client)!);
        break;
      }
      case "drop":
        requireThat(effect.reason === verdict, () => `dropped as ${effect.reason}, should be ${verdict}`);
        requireThat(event.type === "result" && event.lease === effect.lease && event.client === effect.client, () => {
          return `lease ${effect.lease} of ${effect.client} was dropped, and another result had come`;
        });
        if (verdict === "duplicate" && this.#leases.get(effect.lease)?.client === effect.client) {
          this.#end(this.#clients.get(effect.client)!);
        }
        break;
      case "revoke": {
        if (refused?.id === effect.lease && "client" in event && event.client === effect.client) break;
        const held = this.#leases.get(effect.lease);
        requireThat(held?.client === effect.client, () => `revoked lease ${effect.lease}, not ${effect.client}'s`);
        const isOver = effects.some(({ type }) => type === "complete");
        requireThat(event.type === "control" || isOver || this.#anyDone(held.lease), () => {
          return `${describe(held.lease)} was revoked though nobody else did any of it`;
        });
        this.#end(this.#clients.get(effect.client)!);
        break;
      }
      case "complete":
        requireThat(!this.#committing, () => `${effect.work} of step ${effect.step} was completed twice`);
        requireThat(effect.work === this.#stage && effect.step === this.#step, () => "another piece was completed");
        requireThat(this.#doneCount >= this.#needed(), () => {
          return `${effect.work} of step ${effect.step} was completed with ${this.#done.length - this.#doneCount} missing`;
        });
        this.#committing = true;
        break;
      case "broadcast":
        requireThat(event.type === "committed" && effect.version === event.version, () => "a broadcast of no commit");
        requireThat(this.#isBroadcastDue, () => `version ${effect.version} was broadcast, and is not newer`);
        this.#isBroadcastDue = false;
        break;
      case "wake":
        requireThat(effect.time !== this.#told, () => "the same wake twice");
        this.#told = effect.time;
        this.#wake = effect.time === null ? null : effect.time + this.#setBack;
        break;
      case "compared":
      case "convict":
        throw new InvariantError(`${effect.type} though nothing is audited`);
      default:
        effect satisfies never;
    }
  }

  /** Micro-batches without which the open piece is not complete. */
  #needed(): number {
    const { quorum = 1 } = this.#plan;
    return Math.ceil((this.#stage === "train" ? quorum : 1) * this.#done.length);
  }

  #checkAssignment(id: string, lease: Lease): void {
    const client = this.#clients.get(id);
    requireThat(client !== undefined, () => `${id} is not connected`);
    requireThat(this.#isOpen(), () => `${describe(lease)} while nothing may be assigned`);
    requireThat(client.version === this.#version, () => `${id} holds version ${client.version}, not ${this.#version}`);
    requireThat(client.capacity >= lease.to - lease.from, () => `${id} wants ${client.capacity}: ${describe(lease)}`);
    requireThat(client.failures < FAILURES_TOLERATED, () => `${id} failed ${client.failures} times and is asked again`);
    requireThat(client.lease === null, () => `${id} has work already`);
    const isCurrent = lease.work === this.#stage && lease.step === this.#step && lease.version === this.#version;
    requireThat(isCurrent, () => `${describe(lease)} is not the open piece`);
    requireThat(lease.from >= 0 && lease.from < lease.to && lease.to <= this.#done.length, () => {
      return `${describe(lease)} is outside of the piece's ${this.#done.length} micro-batches`;
    });
    requireThat(!this.#anyDone(lease), () => `${describe(lease)} is done in part`);
    requireThat(lease.id >= this.#nextLease, () => `the number of ${describe(lease)} was used before`);
    requireThat(lease.assignedAt === this.#time && lease.deadline >= this.#time + SHORTEST_LEASE, () => {
      return `${describe(lease)} has until ${lease.deadline}, at ${this.#time}`;
    });
    for (const other of this.#leases.values()) {
      if (other.lapsed || !overlap(lease, other.lease)) continue;
      // It may be given out again before its deadline, if it is overdue.
      requireThat(this.#time >= other.lease.assignedAt + SHORTEST_OVERDUE, () => {
        return `${describe(lease)} overlaps ${describe(other.lease)} of ${other.client}, which has time left`;
      });
      other.lapsed = true;
      this.#clients.get(other.client)!.doubted = true;
    }
  }

  #checkAfterwards(event: RoundEvent, effects: readonly RoundEffect[], refused: Lease | null): void {
    const has = (type: RoundEffect["type"]): boolean => effects.some((effect) => effect.type === type);
    if (event.type === "committed") {
      requireThat(!this.#isBroadcastDue, () => `version ${event.version} was not broadcast`);
      const [broadcast, last] = ["broadcast", "assign"].map((type) => effects.findLastIndex((it) => it.type === type));
      requireThat(!has("broadcast") || broadcast > last, () => "weights go out before the work that is done at them");
    }
    requireThat(refused === null || has("revoke"), () => "a lease that cannot be restored was not revoked");
    if (this.#stage === "done" || this.#status !== "running") {
      requireThat(this.#leases.size === 0, () => `${this.#leases.size} leases while ${this.#status}`);
    }
    if (this.#stage !== "done" && this.#doneCount === this.#done.length) {
      requireThat(this.#committing, () => "everything is in and the piece is not complete");
    }
    for (const { lease, lapsed } of this.#leases.values()) {
      requireThat(!this.#anyDone(lease), () => `${describe(lease)} goes on though some of it is done`);
      const isLapsed = this.#round.leases.get(lease.id)?.expired;
      requireThat(isLapsed === lapsed, () => `${describe(lease)} ${lapsed ? "did not lapse" : "lapsed for nobody"}`);
    }
    this.#checkWake();
    this.#checkNobodyIdles();
  }

  #checkWake(): void {
    for (const { lapsed, lease } of this.#leases.values()) {
      if (lapsed) continue;
      requireThat(this.#wake !== null && this.#wake <= lease.deadline, () => {
        return `nothing wakes at the deadline ${lease.deadline} of ${describe(lease)}`;
      });
    }
  }

  /** Free work and somebody to do it do not stay apart. */
  #checkNobodyIdles(): void {
    if (!this.#isOpen()) return;
    const taken = this.#done.slice();
    for (const { lapsed, lease } of this.#leases.values()) if (!lapsed) taken.fill(1, lease.from, lease.to);
    if (!taken.includes(0)) return;
    const keepsUntil = (this.#openedAt ?? this.#time) + LONGEST_RESERVE;
    let isAnyoneWorking = false;
    let doubted: string | null = null;
    for (const [id, client] of this.#clients) {
      if (client.lease !== null) isAnyoneWorking ||= !client.lease.lapsed;
      else if (client.version === this.#version && client.capacity > 0 && client.failures < FAILURES_TOLERATED) {
        if (client.doubted) doubted = id;
        else {
          isAnyoneWorking = true;
          requireThat(client.served, () => `${id} can work, there is work, and it was given none`);
          requireThat(this.#time < keepsUntil, () => `${id} idles while there is work`);
          requireThat(this.#wake !== null && this.#wake <= keepsUntil, () => `nothing wakes for ${id}, who waits`);
        }
      }
    }
    if (doubted === null || isAnyoneWorking || this.#time < keepsUntil) return;
    throw new InvariantError(`there is work and nobody but ${doubted}, and it was given none`);
  }
}
