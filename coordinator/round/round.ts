/**
 * The round machine: who computes which micro-batches, and when a piece of work is complete. A deterministic function of its
 * events, with no clock, socket, storage or randomness of its own, so that it can be simulated with any faults.
 *
 * A piece of work is one stage of one step: its micro-batches are handed out as leases of one run each, at most one a
 * client. Each micro-batch is accepted exactly once (invariant I1): a lease that expired, or is overdue while others idle, is handed to
 * somebody else, and whichever valid result comes first wins. Some leases are doubled, and then all of their results are waited for
 * (doubles.ts). Where the plan has a quorum, a training step may end without what is overdue.
 */

import type { RunPlan } from "../../shared/session/plan.ts";
import { assignWork, scheduleWake, speculate } from "./assignment.ts";
import { assignDoubles } from "./doubles.ts";
import { overlaps } from "./intervals.ts";
import { RESERVE_TIME, updateSpeed } from "./sizing.ts";
import {
  allOverdueFrom,
  type Client,
  giveBack,
  type HeldLease,
  hasQuorum,
  hold,
  isOpen,
  lapse,
  openCoverage,
  place,
  type RoundStart,
  RoundState,
  remove,
  settle,
} from "./state.ts";
import type { ClientId, DropReason, Lease, RoundEffect, RoundEvent } from "./types.ts";

type EventOf<Type extends RoundEvent["type"]> = Extract<RoundEvent, { type: Type }>;

export type RoundErrorCode = "not-complete" | "step-fell" | "version-fell";

/** The shell broke its promise; what it holds in memory is not to be trusted. */
export class RoundError extends Error {
  readonly code: RoundErrorCode;
  constructor(code: RoundErrorCode, message: string) {
    super(message);
    this.name = "RoundError";
    this.code = code;
  }
}

export function createRound(plan: RunPlan, start: RoundStart): RoundState {
  return new RoundState(plan, start);
}

/** Events may be out of order by what a commit takes; by more than so many milliseconds it is the clock that was set back. */
const DISORDER = 1_000;

/** Applies one event. Changes `state`; the effects are to be carried out in order. Throws RoundError. */
export function advance(state: RoundState, told: RoundEvent): RoundEffect[] {
  const effects: RoundEffect[] = [];
  const event = inOrder(state, told);
  const { version } = state;
  handle(state, event, effects);
  // First: what was accepted may turn out to be wrong, and the piece is not complete before that is known.
  assignDoubles(state, event.time, effects);
  completeIfDone(state, event.time, effects);
  assignWork(state, event.time, effects);
  assignDoubles(state, event.time, effects);
  speculate(state, event.time, effects);
  // Behind the work: its samples can be fetched while the weights are still under way.
  if (state.version > version) effects.push({ type: "broadcast", version: state.version });
  scheduleWake(state, event.time, effects);
  return effects;
}

/**
 * An event in the round's own time, in which nothing is before what was. Where the shell's clock is set back, whatever is waited for would
 * else be waited for as much longer. One that jumps ahead ends leases early, and does no other harm: late results count.
 */
function inOrder(state: RoundState, event: RoundEvent): RoundEvent {
  const behind = state.now - (event.time + state.setBack);
  if (behind > DISORDER) state.setBack += behind;
  state.now = Math.max(state.now, event.time + state.setBack);
  return state.now === event.time ? event : { ...event, time: state.now };
}

function handle(state: RoundState, event: RoundEvent, effects: RoundEffect[]): void {
  switch (event.type) {
    case "joined":
      join(state, event, effects);
      break;
    case "left":
      leave(state, event);
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
    case "disputed":
      dispute(state, event);
      break;
    case "tick":
      expire(state, event.time);
      break;
    case "committed":
    case "restarted":
      openPiece(state, event);
      break;
    case "control":
      control(state, event, effects);
      break;
    default:
      event satisfies never;
  }
}

/** A client that is there already is replaced: its lease was its old socket's. */
function join(state: RoundState, event: EventOf<"joined">, effects: RoundEffect[]): void {
  leave(state, event);
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
    doubted: false,
    place: "away",
    counted: 0,
  };
  state.clients.set(client.id, client);
  if (event.audit !== undefined) state.audits?.join(client.id, event.audit);
  place(state, client);
  if (event.lease === null || restoreLease(state, client, event.lease)) return;
  effects.push({ type: "revoke", client: client.id, lease: event.lease.id });
}

/**
 * After the coordinator woke: a lease that its client still computes stays valid, if it is for the open piece. Where the clock was set back
 * meanwhile it begins anew.
 */
function restoreLease(state: RoundState, client: Client, lease: Lease): boolean {
  const isCurrent = lease.work === state.stage && lease.step === state.step && lease.version === state.version;
  if (!isOpen(state) || !isCurrent || state.leases.has(lease.id) || !state.coverage.claim(lease)) return false;
  const ahead = Math.max(0, lease.assignedAt - state.now);
  hold(state, client, ahead === 0 ? lease : { ...lease, assignedAt: state.now, deadline: lease.deadline - ahead });
  state.nextLease = Math.max(state.nextLease, lease.id + 1);
  return true;
}

function leave(state: RoundState, { client: id }: EventOf<"left" | "joined">): void {
  const client = state.clients.get(id);
  if (client === undefined) return;
  giveBack(state, client);
  remove(state, client);
  state.audits?.leave(client.id);
}

function acknowledge(state: RoundState, { client: id, version }: EventOf<"ready">): void {
  const client = state.clients.get(id);
  if (client === undefined) return;
  client.version = version;
  trust(client);
  place(state, client);
}

function setCapacity(state: RoundState, { client: id, microBatches }: EventOf<"capacity">): void {
  const client = state.clients.get(id);
  if (client === undefined) return;
  client.capacity = microBatches;
  trust(client);
  if (microBatches === 0) giveBack(state, client);
  place(state, client);
}

/** It gave a sign of life. */
function trust(client: Client): void {
  client.failures = 0;
  client.doubted = false;
}

function noteFailure(state: RoundState, { client: id, lease }: EventOf<"failed">): void {
  const client = state.clients.get(id);
  if (client?.lease?.lease.id !== lease) return;
  client.failures += 1;
  client.doubted = false;
  giveBack(state, client);
}

/** Its work goes to whoever else is there; itself it is given nothing until it said `ready` again or nobody else is left. */
function dispute(state: RoundState, { client: id, lease }: EventOf<"disputed">): void {
  const client = state.clients.get(id);
  if (client?.lease?.lease.id !== lease) return;
  client.doubted = true;
  giveBack(state, client);
}

/** Whether nobody but this client could compute what it was given. */
export function isAlone({ places }: RoundState, client: string): boolean {
  for (const place of ["fresh", "returning", "working", "expected"] as const) {
    for (const { id } of places[place]) if (id !== client) return false;
  }
  return true;
}

/** Whether `advance` would accept this result: so that it can be looked at before it counts. */
export function wouldAccept(state: RoundState, event: EventOf<"result">): boolean {
  const held = judge(state, event);
  return typeof held !== "string" && isUseful(state, held) && !state.coverage.hasDone(held.lease);
}

/** Of a newcomer only what somebody else computes too, and the double of what ran out is void: nobody would look at it. */
const isUseful = ({ audits }: RoundState, { client, expired }: HeldLease): boolean =>
  !expired || (audits?.isBelieved(client.id) ?? true);

/** Why a result counts for nothing, or the lease that it answers. */
function judge(state: RoundState, { client, lease, version, step }: EventOf<"result">): DropReason | HeldLease {
  const held = state.leases.get(lease);
  if (held !== undefined && held.client.id !== client) return "foreign";
  if (version !== state.version || step !== state.step) return "stale";
  if (held !== undefined) return held;
  const owner = state.settled.get(lease);
  if (owner !== undefined) return owner === client ? "duplicate" : "foreign";
  return lease < state.firstLease ? "stale" : "foreign";
}

function takeResult(state: RoundState, event: EventOf<"result">, effects: RoundEffect[]): void {
  const held = judge(state, event);
  if (typeof held === "string") {
    effects.push({ type: "drop", client: event.client, lease: event.lease, reason: held });
    return;
  }
  const { lease, client } = held;
  const { audits } = state;
  const counts = isUseful(state, held);
  const isFirst = counts && state.coverage.finish(lease);
  const isDoubled = audits?.isDoubled(lease.id) ?? false;
  client.speed = updateSpeed(client.speed, lease.to - lease.from, event.time - lease.assignedAt);
  trust(client);
  if (isFirst) {
    client.accepted += lease.to - lease.from;
    audits?.accept(client.id, lease.step);
  }
  const banned = event.evidence === undefined ? [] : (audits?.testify(lease.id, client.id, event.evidence) ?? []);
  if (event.evidence === undefined) audits?.lose(lease.id, state.coverage.isComplete);
  settle(state, held);
  if (isFirst) {
    effects.push({ type: "accept", client: client.id, lease });
    // Whoever computes a part of it too may stop. Without an expired lease on one side nothing overlaps but doubles.
    for (const other of held.expired ? state.leases.values() : state.expired) {
      if (overlaps(other.lease, lease)) revoke(state, other, effects);
    }
  } else if (isDoubled) effects.push({ type: "compared", client: client.id, lease });
  else effects.push({ type: "drop", client: client.id, lease: lease.id, reason: counts ? "duplicate" : "stale" });
  if (banned.length > 0) convict(state, banned, effects);
}

/** What the piece added up to is not to be trusted: it ends here, and waits for what the shell makes of it. */
function convict(state: RoundState, clients: readonly ClientId[], effects: RoundEffect[]): void {
  for (const held of state.leases.values()) revoke(state, held, effects);
  state.audits?.discard();
  state.committing = true;
  effects.push({ type: "convict", clients });
}

function revoke(state: RoundState, held: HeldLease, effects: RoundEffect[]): void {
  giveBack(state, held.client);
  effects.push({ type: "revoke", client: held.client.id, lease: held.lease.id });
}

function expire(state: RoundState, time: number): void {
  if (time < state.nextDeadline) return;
  state.nextDeadline = Number.POSITIVE_INFINITY;
  for (const held of state.leases.values()) {
    if (held.expired) continue;
    if (held.lease.deadline > time) {
      state.nextDeadline = Math.min(state.nextDeadline, held.lease.deadline);
      continue;
    }
    lapse(state, held, time);
  }
}

function openPiece(state: RoundState, event: EventOf<"committed" | "restarted">): void {
  const { step, version } = event;
  if (!state.committing) {
    throw new RoundError("not-complete", `${state.stage} of step ${state.step} was committed before it was complete`);
  }
  if (step < state.step && event.type === "committed")
    throw new RoundError("step-fell", `step ${step} was committed after step ${state.step}`);
  if (version < state.version) {
    throw new RoundError("version-fell", `version ${version} was committed after version ${state.version}`);
  }
  // Stopping is final, also while a piece was being committed.
  state.stage = state.status === "stopped" ? "done" : event.stage;
  state.step = step;
  for (const client of state.clients.values()) {
    // One that had the weights and found nothing left did come.
    client.missed = !client.served && client.version !== state.version;
    client.served = false;
  }
  state.version = version;
  if (event.stage === "done" && state.status === "running") state.status = "finished";
  reopen(state);
  state.reserveUntil = event.time + RESERVE_TIME;
  state.speed = 0;
  for (const client of state.clients.values()) {
    client.counted = 0;
    place(state, client);
  }
  for (const id of event.ahead) {
    const client = state.clients.get(id);
    if (client?.place !== "expected") continue;
    client.version = version;
    place(state, client);
  }
}

/** The piece of work starts with nothing handed out and nothing done. */
function reopen(state: RoundState): void {
  state.committing = false;
  state.audits?.discard();
  state.settled.clear();
  state.firstLease = state.nextLease;
  state.coverage = openCoverage(state);
}

function control(state: RoundState, { action }: EventOf<"control">, effects: RoundEffect[]): void {
  if (state.stage === "done") return;
  if (action === "resume") {
    state.status = "running";
    return;
  }
  // What is under way is then nobody's: results that still come are dropped, and their work is handed out on resuming.
  for (const held of state.leases.values()) revoke(state, held, effects);
  state.status = ({ pause: "paused", stop: "stopped", fail: "failed" } as const)[action];
  if (action === "stop") state.stage = "done";
  // A piece that could not be committed is done again if the run goes on.
  if (action === "fail" && state.committing) reopen(state);
}

function completeIfDone(state: RoundState, time: number, effects: RoundEffect[]): void {
  if (!isOpen(state) || state.stage === "done") return;
  if (!state.coverage.isComplete && !(hasQuorum(state) && time >= allOverdueFrom(state))) return;
  if (state.audits?.isWaiting) return;
  const banned = state.audits?.close() ?? [];
  if (banned.length > 0) {
    convict(state, banned, effects);
    return;
  }
  // Doubles that ran out, and what a quorum goes without: a lease must not outlive its piece, for the next one may be at the same version.
  for (const held of state.leases.values()) {
    if (!held.expired && !state.coverage.isComplete) lapse(state, held, time);
    revoke(state, held, effects);
  }
  state.committing = true;
  effects.push({ type: "complete", work: state.stage, step: state.step });
}
