/**
 * The round machine: who computes which micro-batches, and when a piece of work is complete. A deterministic function of its
 * events, with no clock, socket, storage or randomness of its own, so that it can be simulated with any faults.
 *
 * A piece of work is one stage of one step: its micro-batches are handed out as leases of one run each, at most one a
 * client. Each micro-batch is accepted exactly once (invariant I1): an expired lease is handed to somebody else, and
 * whichever valid result comes first wins. Left out: speculation before a deadline, quorums, reputations.
 */

import { type RunPlan, workMicroBatches } from "../../shared/session/plan.ts";
import { Coverage, type Range } from "./coverage.ts";
import { leaseTime, RESERVE_TIME, shardSize, updateSpeed } from "./sizing.ts";
import type { ClientId, DropReason, Lease, RoundEffect, RoundEvent, Stage, Status } from "./types.ts";

/** Failures in a row after which a client is given nothing until it says `ready` or `capacity` again. */
const FAILURES_TOLERATED = 3;

interface Client {
  readonly id: ClientId;
  /** Weights it holds; null before its first `ready`. */
  version: number | null;
  /** Most micro-batches it wants at a time. */
  capacity: number;
  lease: HeldLease | null;
  /** Micro-batches a millisecond, by the coordinator's clock from assignment to result; null before the first. */
  speed: number | null;
  accepted: number;
  failures: number;
  /** Was given work in the open piece. */
  served: boolean;
  /** Did not come for what was reserved for it last time: nothing is reserved for it until it does. */
  missed: boolean;
}

interface HeldLease {
  readonly lease: Lease;
  readonly client: Client;
  /** Its micro-batches may have been handed to somebody else. */
  expired: boolean;
}

export interface RoundStart {
  readonly stage: Stage;
  readonly step: number;
  readonly version: number;
  readonly status: Status;
  /** First lease number: above all that were given before. */
  readonly nextLease: number;
}

/** What a display shows of one client. */
export interface ClientSummary {
  readonly id: ClientId;
  readonly state: "loading" | "ready" | "working" | "paused";
  /** Micro-batches a second; 0 if not measured. */
  readonly speed: number;
  /** Micro-batches accepted since it joined. */
  readonly accepted: number;
}

export interface RoundSummary {
  readonly stage: Stage;
  readonly step: number;
  readonly version: number;
  /** `waiting`: running, but there is nobody to compute. */
  readonly status: Status | "waiting";
  readonly clients: readonly ClientSummary[];
}

export class RoundState {
  readonly plan: RunPlan;
  readonly clients = new Map<ClientId, Client>();
  readonly leases = new Map<number, HeldLease>();
  /** Leases of the open piece that are over: accepted, given back or revoked. */
  readonly settled = new Set<number>();
  stage: Stage;
  step: number;
  version: number;
  status: Status;
  nextLease: number;
  coverage: Coverage;
  /** A complete piece is being made durable. */
  committing = false;
  /** Until then the last micro-batches wait for clients that were not served; null before the first client comes. */
  reserveUntil: number | null = null;
  lastWake: number | null = null;

  constructor(plan: RunPlan, start: RoundStart) {
    this.plan = plan;
    this.stage = start.stage;
    this.step = start.step;
    this.version = start.version;
    this.status = start.status;
    this.nextLease = start.nextLease;
    this.coverage = openCoverage(this);
  }
}

function openCoverage({ plan, stage, step }: { plan: RunPlan; stage: Stage; step: number }): Coverage {
  return new Coverage(stage === "done" ? 0 : workMicroBatches(plan, stage, step));
}

export function createRound(plan: RunPlan, start: RoundStart): RoundState {
  return new RoundState(plan, start);
}

/** Applies one event. Changes `state`; the effects are to be carried out in order. */
export function advance(state: RoundState, event: RoundEvent): RoundEffect[] {
  const effects: RoundEffect[] = [];
  handle(state, event, effects);
  completeIfDone(state, effects);
  assignWork(state, event.time, effects);
  scheduleWake(state, event.time, effects);
  return effects;
}

function handle(state: RoundState, event: RoundEvent, effects: RoundEffect[]): void {
  switch (event.type) {
    case "joined":
      join(state, event);
      break;
    case "left":
      leave(state, event.client);
      break;
    case "ready":
      acknowledge(state, event);
      break;
    case "capacity":
      setCapacity(state, event);
      break;
    case "result":
      takeResult(state, event, effects);
      break;
    case "failed":
      noteFailure(state, event);
      break;
    case "tick":
      expire(state, event.time);
      break;
    case "committed":
      openPiece(state, event, effects);
      break;
    case "control":
      control(state, event.action, effects);
      break;
    default:
      event satisfies never;
  }
}

function acknowledge(state: RoundState, { client: id, version }: Extract<RoundEvent, { type: "ready" }>): void {
  const client = state.clients.get(id);
  if (client === undefined) return;
  client.version = version;
  client.failures = 0;
}

function setCapacity(state: RoundState, { client: id, microBatches }: Extract<RoundEvent, { type: "capacity" }>): void {
  const client = state.clients.get(id);
  if (client === undefined) return;
  client.capacity = microBatches;
  client.failures = 0;
  if (microBatches === 0) giveBack(state, client);
}

function noteFailure(state: RoundState, { client: id, lease }: Extract<RoundEvent, { type: "failed" }>): void {
  const client = state.clients.get(id);
  if (client?.lease?.lease.id !== lease) return;
  giveBack(state, client);
  client.failures += 1;
}

function join(state: RoundState, event: Extract<RoundEvent, { type: "joined" }>): void {
  leave(state, event.client);
  const client: Client = {
    id: event.client,
    version: event.version,
    capacity: Number.POSITIVE_INFINITY,
    lease: null,
    speed: null,
    accepted: 0,
    failures: 0,
    served: false,
    missed: false,
  };
  state.clients.set(client.id, client);
  if (event.lease !== null) restoreLease(state, client, event.lease);
}

/** After the coordinator woke: a lease that its client still computes stays valid, if it is for the open piece. */
function restoreLease(state: RoundState, client: Client, lease: Lease): void {
  const isOpen = lease.work === state.stage && lease.step === state.step && lease.version === state.version;
  if (!isOpen || state.status !== "running" || state.committing || state.leases.has(lease.id)) return;
  if (!state.coverage.claim(lease)) return;
  hold(state, client, lease);
  state.nextLease = Math.max(state.nextLease, lease.id + 1);
}

function hold(state: RoundState, client: Client, lease: Lease): void {
  client.lease = { lease, client, expired: false };
  client.served = true;
  client.missed = false;
  state.leases.set(lease.id, client.lease);
}

function leave(state: RoundState, id: ClientId): void {
  const client = state.clients.get(id);
  if (client === undefined) return;
  giveBack(state, client);
  state.clients.delete(id);
}

/** Ends a client's lease without a result; what of it nobody else was given is free again. */
function giveBack(state: RoundState, client: Client): void {
  const held = client.lease;
  if (held === null) return;
  if (!held.expired) state.coverage.release(held.lease);
  settle(state, held);
}

function settle(state: RoundState, held: HeldLease): void {
  state.leases.delete(held.lease.id);
  state.settled.add(held.lease.id);
  held.client.lease = null;
}

const overlaps = (a: Range, b: Range): boolean => a.from < b.to && b.from < a.to;

/** Why a result counts for nothing, or null if it may count. */
function refuse(
  state: RoundState,
  { client, lease, version, step }: Extract<RoundEvent, { type: "result" }>,
): DropReason | null {
  const held = state.leases.get(lease);
  if (held !== undefined && held.client.id !== client) return "foreign";
  if (version !== state.version || step !== state.step) return "stale";
  if (held !== undefined) return null;
  return state.settled.has(lease) ? "duplicate" : "foreign";
}

function takeResult(state: RoundState, event: Extract<RoundEvent, { type: "result" }>, effects: RoundEffect[]): void {
  const held = state.leases.get(event.lease);
  const reason = refuse(state, event);
  if (held === undefined || reason !== null) {
    effects.push({ type: "drop", client: event.client, lease: event.lease, reason: reason ?? "foreign" });
    return;
  }
  const { lease, client } = held;
  const isFirst = state.coverage.finish(lease);
  settle(state, held);
  client.speed = updateSpeed(client.speed, lease.to - lease.from, event.time - lease.assignedAt);
  client.failures = 0;
  if (!isFirst) {
    effects.push({ type: "drop", client: client.id, lease: lease.id, reason: "duplicate" });
    return;
  }
  client.accepted += lease.to - lease.from;
  effects.push({ type: "accept", client: client.id, lease });
  // It came late, after its run was handed on: whoever computes a part of it again may stop.
  for (const other of [...state.leases.values()]) {
    if (!overlaps(other.lease, lease)) continue;
    if (!other.expired) state.coverage.release(other.lease);
    settle(state, other);
    effects.push({ type: "revoke", client: other.client.id, lease: other.lease.id });
  }
}

function expire(state: RoundState, time: number): void {
  for (const held of state.leases.values()) {
    if (held.expired || held.lease.deadline > time) continue;
    held.expired = true;
    state.coverage.release(held.lease);
  }
}

function openPiece(state: RoundState, event: Extract<RoundEvent, { type: "committed" }>, effects: RoundEffect[]): void {
  const isNewer = event.version > state.version;
  state.committing = false;
  state.stage = event.stage;
  state.step = event.step;
  state.version = event.version;
  state.settled.clear();
  state.coverage = openCoverage(state);
  state.reserveUntil = event.time + RESERVE_TIME;
  for (const client of state.clients.values()) {
    client.missed = !client.served;
    client.served = false;
  }
  if (event.stage === "done" && state.status === "running") state.status = "finished";
  if (isNewer) effects.push({ type: "broadcast", version: event.version });
}

function control(
  state: RoundState,
  action: Extract<RoundEvent, { type: "control" }>["action"],
  effects: RoundEffect[],
): void {
  if (state.stage === "done") return;
  if (action === "resume") {
    if (state.status !== "stopped") state.status = "running";
    return;
  }
  // Results that are under way are then nobody's, and their work is handed out again on resuming.
  for (const held of [...state.leases.values()]) {
    effects.push({ type: "revoke", client: held.client.id, lease: held.lease.id });
    giveBack(state, held.client);
  }
  state.status = action === "pause" ? "paused" : action === "stop" ? "stopped" : "failed";
}

function completeIfDone(state: RoundState, effects: RoundEffect[]): void {
  if (state.stage === "done" || state.committing || !state.coverage.isComplete) return;
  state.committing = true;
  effects.push({ type: "complete", work: state.stage, step: state.step });
}

const canWork = (state: RoundState, client: Client): boolean =>
  client.version === state.version && client.capacity > 0 && client.failures < FAILURES_TOLERATED;

/** Takes part in the run, even if it is still setting the newest weights. */
const isActive = (client: Client): boolean =>
  client.version !== null && client.capacity > 0 && client.failures < FAILURES_TOLERATED;

function assignWork(state: RoundState, time: number, effects: RoundEffect[]): void {
  const { coverage, stage } = state;
  if (stage === "done" || state.status !== "running" || state.committing || coverage.free === 0) return;
  state.reserveUntil ??= time + RESERVE_TIME;

  let everyone = 0;
  /** Clients that something is kept for: they are about to be ready for this piece. */
  let expected = 0;
  const idle: Client[] = [];
  for (const client of state.clients.values()) {
    if (!isActive(client)) continue;
    everyone += client.speed ?? 0;
    if (canWork(state, client) && client.lease === null) idle.push(client);
    else if (!client.served && !client.missed && client.lease === null) expected += 1;
  }
  if (time >= state.reserveUntil) expected = 0;
  // The fastest first: what an expired lease left behind goes to the fastest idle client.
  idle.sort((a, b) => (b.speed ?? 0) - (a.speed ?? 0));

  let unserved = idle.filter(({ served }) => !served).length + expected;
  for (const client of idle) {
    if (!client.served) unserved -= 1;
    const available = coverage.free - unserved;
    // Those that were not served yet get their micro-batch before others get a second one.
    if (available <= 0 && client.served) continue;
    const work = client.served ? coverage.free : coverage.total;
    const wanted = Math.min(shardSize(client.speed, everyone, work), client.capacity, Math.max(1, available));
    const range = coverage.take(wanted);
    if (range === null) return;
    const lease: Lease = {
      id: state.nextLease++,
      work: stage,
      step: state.step,
      version: state.version,
      from: range.from,
      to: range.to,
      assignedAt: time,
      deadline: time + leaseTime(client.speed, range.to - range.from),
    };
    hold(state, client, lease);
    effects.push({ type: "assign", client: client.id, lease });
  }
}

/** The next time at which something changes by itself: a deadline, or the end of what is reserved. */
function scheduleWake(state: RoundState, now: number, effects: RoundEffect[]): void {
  let next = Number.POSITIVE_INFINITY;
  for (const { expired, lease } of state.leases.values()) if (!expired) next = Math.min(next, lease.deadline);
  const waits = state.status === "running" && !state.committing && state.coverage.free > 0;
  if (waits && state.reserveUntil !== null && state.reserveUntil > now) next = Math.min(next, state.reserveUntil);
  const time = Number.isFinite(next) ? next : null;
  if (time === state.lastWake) return;
  state.lastWake = time;
  effects.push({ type: "wake", time });
}

function stateOf(client: Client): ClientSummary["state"] {
  if (client.capacity === 0) return "paused";
  if (client.lease !== null) return "working";
  return client.version === null ? "loading" : "ready";
}

export function summarize(state: RoundState): RoundSummary {
  const clients = [...state.clients.values()];
  const isWaiting = state.status === "running" && state.stage !== "done" && !clients.some(isActive);
  return {
    stage: state.stage,
    step: state.step,
    version: state.version,
    status: isWaiting ? "waiting" : state.status,
    clients: clients.map((client) => ({
      id: client.id,
      state: stateOf(client),
      speed: (client.speed ?? 0) * 1000,
      accepted: client.accepted,
    })),
  };
}
