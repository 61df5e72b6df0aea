/**
 * What the round machine remembers: clients, leases, and the coverage of the open piece of work. Every client has one
 * *place*, kept up to date as it changes, so that no event looks at all clients.
 */

import { type RunPlan, workMicroBatches } from "../../shared/session/plan.ts";
import type { AuditDesk } from "../audit/index.ts";
import { Coverage } from "./coverage.ts";
import { overdueTime, slowedSpeed } from "./sizing.ts";
import type { ClientId, Lease, Stage, Status } from "./types.ts";

/** Failures in a row after which a client is given nothing until it says `ready` or `capacity` again. */
const FAILURES_TOLERATED = 3;

/** What a client is to the open piece of work. */
export type Place =
  /** Could work, and was given nothing of this piece yet. */
  | "fresh"
  /** Could work, and had a lease of this piece before. */
  | "returning"
  /** Could work, but let its last lease run out and gave no sign of life since: asked when nobody else is there. */
  | "doubted"
  | "working"
  /** Is about to set the piece's weights: something is kept for it for a moment. */
  | "expected"
  | "away";

export interface Client {
  readonly id: ClientId;
  /** Weights it holds, or will hold when it comes to the work that it was given; null before its first `ready`. */
  version: number | null;
  /** Most micro-batches it wants at a time. */
  capacity: number;
  lease: HeldLease | null;
  /** Micro-batches a millisecond, by the coordinator's clock from assignment to result; null before the first. */
  speed: number | null;
  /** Micro-batches accepted since it joined. */
  accepted: number;
  /** In a row. */
  failures: number;
  /** Was given work in the open piece. */
  served: boolean;
  /** Did not come for what was kept for it last time: nothing is kept for it until it does. */
  missed: boolean;
  doubted: boolean;
  place: Place;
  /** What of its speed is in the state's `speed`. */
  counted: number;
}

export interface HeldLease {
  readonly lease: Lease;
  readonly client: Client;
  /** Its micro-batches were made free and may have been handed to somebody else. */
  expired: boolean;
  /** From then on they may be, if somebody is idle. */
  readonly overdueAt: number;
}

export interface RoundStart {
  readonly stage: Stage;
  readonly step: number;
  readonly version: number;
  readonly status: Status;
  /** First lease number: above all that were given before. */
  readonly nextLease: number;
  /** Absent where nothing is computed twice. */
  readonly audits?: AuditDesk;
}

export class RoundState {
  readonly plan: RunPlan;
  readonly audits: AuditDesk | null;
  readonly clients = new Map<ClientId, Client>();
  readonly places: Readonly<Record<Place, Set<Client>>> = {
    fresh: new Set(),
    returning: new Set(),
    doubted: new Set(),
    working: new Set(),
    expected: new Set(),
    away: new Set(),
  };
  /** Leases that may still be answered, by number. Those that have not expired never overlap one another, but for doubles, which are the same. */
  readonly leases = new Map<number, HeldLease>();
  readonly expired = new Set<HeldLease>();
  /** Leases of the open piece that are over (accepted, given back or revoked), and whose they were. */
  readonly settled = new Map<number, ClientId>();
  stage: Stage;
  step: number;
  version: number;
  status: Status;
  nextLease: number;
  /** Lease numbers below it belong to earlier pieces of work. */
  firstLease: number;
  coverage: Coverage;
  /** A complete piece is being made durable. */
  committing = false;
  /** Until then the last micro-batches are kept for `expected` clients; null before the run was first open. */
  reserveUntil: number | null = null;
  /** No lease runs out before it; leases that ended since may make it too early, never too late. */
  nextDeadline = Number.POSITIVE_INFINITY;
  /** The same for becoming overdue. */
  nextOverdue = Number.POSITIVE_INFINITY;
  lastWake: number | null = null;
  /** Time of the latest event, as the round counts it: it never falls. */
  now = Number.NEGATIVE_INFINITY;
  /** Milliseconds by which the shell's clock was set back so far: the round's time is the shell's and these. */
  setBack = 0;
  /** Micro-batches a millisecond of everyone who takes part in the open piece. */
  speed = 0;

  constructor(plan: RunPlan, start: RoundStart) {
    this.plan = plan;
    this.audits = start.audits ?? null;
    this.stage = start.stage;
    this.step = start.step;
    this.version = start.version;
    this.status = start.status;
    this.nextLease = start.nextLease;
    this.firstLease = start.nextLease;
    this.coverage = openCoverage(this);
  }
}

export function openCoverage({ plan, stage, step }: Pick<RoundState, "plan" | "stage" | "step">): Coverage {
  return new Coverage(stage === "done" ? 0 : workMicroBatches(plan, stage, step));
}

/** Whether work may be handed out. */
export function isOpen({ status, stage, committing }: RoundState): boolean {
  return status === "running" && stage !== "done" && !committing;
}

/** Whether enough of a training step is in for it to end without what is overdue. */
export function hasQuorum({ plan: { quorum }, stage, coverage }: RoundState): boolean {
  return quorum !== undefined && stage === "train" && coverage.done >= Math.ceil(quorum * coverage.total);
}

/** From when on everyone who is still at work on the open piece should have answered long ago; −∞ where nobody is. */
export function allOverdueFrom({ leases }: RoundState): number {
  let latest = Number.NEGATIVE_INFINITY;
  for (const { expired, overdueAt } of leases.values()) if (!expired) latest = Math.max(latest, overdueAt);
  return latest;
}

/** Takes part in the run, even if it is still setting the newest weights. */
export function isActive({ version, capacity, failures }: Client): boolean {
  return version !== null && capacity > 0 && failures < FAILURES_TOLERATED;
}

function placeOf(state: RoundState, client: Client): Place {
  if (client.lease !== null) return client.lease.expired ? "away" : "working";
  if (!isActive(client)) return "away";
  if (client.version !== state.version) return client.served || client.missed || client.doubted ? "away" : "expected";
  if (client.doubted) return "doubted";
  return client.served ? "returning" : "fresh";
}

/** To be called after every change of a client, and of all clients when the version changes. */
export function place(state: RoundState, client: Client): void {
  const next = placeOf(state, client);
  const counted = next === "away" || next === "doubted" ? 0 : (client.speed ?? 0);
  state.speed += counted - client.counted;
  client.counted = counted;
  if (next === client.place && state.places[next].has(client)) return;
  state.places[client.place].delete(client);
  state.places[next].add(client);
  client.place = next;
}

/** Forgets a client that holds no lease. */
export function remove(state: RoundState, client: Client): void {
  state.speed -= client.counted;
  state.places[client.place].delete(client);
  state.clients.delete(client.id);
}

/** Gives a lease to a client that has none; its micro-batches are handed out already. */
export function hold(state: RoundState, client: Client, lease: Lease): void {
  const overdueAt = lease.assignedAt + overdueTime(client.speed, lease.to - lease.from);
  client.lease = { lease, client, expired: false, overdueAt };
  client.served = true;
  client.missed = false;
  state.leases.set(lease.id, client.lease);
  state.nextDeadline = Math.min(state.nextDeadline, lease.deadline);
  state.nextOverdue = Math.min(state.nextOverdue, overdueAt);
  place(state, client);
}

/** Ends a lease: it counts for nothing from now on. */
export function settle(state: RoundState, held: HeldLease): void {
  const { lease, client } = held;
  state.leases.delete(lease.id);
  state.expired.delete(held);
  state.settled.set(lease.id, client.id);
  client.lease = null;
  if (state.leases.size === 0) {
    state.nextDeadline = Number.POSITIVE_INFINITY;
    state.nextOverdue = Number.POSITIVE_INFINITY;
  }
  place(state, client);
}

/** Hands a lease's micro-batches to others: a late result still counts if it is first. */
export function lapse(state: RoundState, held: HeldLease, time: number): void {
  const { lease, client } = held;
  held.expired = true;
  client.doubted = true;
  // Where the clock jumped ahead, it was at work for no longer than its lease all the same.
  const elapsed = Math.min(time, lease.deadline) - lease.assignedAt;
  client.speed = slowedSpeed(client.speed, lease.to - lease.from, elapsed);
  state.expired.add(held);
  release(state, lease);
  place(state, client);
}

/** Nobody is waited for any more for this run, unless it is somebody else's as well. */
export function release({ audits, coverage }: RoundState, lease: Lease): void {
  const isHeld = audits?.lose(lease.id, coverage.isComplete) ?? false;
  if (!isHeld) coverage.release(lease);
}

/** Ends a client's lease without a result, if it has one; what of it nobody else was given is free again. */
export function giveBack(state: RoundState, { lease: held }: Client): void {
  if (held === null) return;
  if (!held.expired) release(state, held.lease);
  settle(state, held);
}
