/**
 * Hands out what is free. Everyone who can work gets one micro-batch before anyone gets a second one, where there are
 * enough, and something is kept for a moment for those still setting the weights; the rest goes out by speed, so that
 * all end together.
 */

import type { AuditDesk } from "../audit/index.ts";
import { openDouble } from "./doubles.ts";
import { leaseTime, RESERVE_TIME, shardSize } from "./sizing.ts";
import {
  allOverdueFrom,
  type Client,
  type HeldLease,
  hasQuorum,
  hold,
  isOpen,
  lapse,
  type RoundState,
} from "./state.ts";
import type { Lease, RoundEffect } from "./types.ts";

/** Who was not measured yet comes first: it may be faster than all others. Whoever has just failed comes after everyone else. */
const fastestFirst = (a: Client, b: Client): number =>
  a.failures - b.failures || (b.speed ?? Number.MAX_VALUE) - (a.speed ?? Number.MAX_VALUE);

export function assignWork(state: RoundState, time: number, effects: RoundEffect[]): void {
  const { audits, coverage, places, stage } = state;
  if (!isOpen(state) || stage === "done") return;
  state.reserveUntil ??= time + RESERVE_TIME;
  if (coverage.free === 0) return;
  /** Clients that are owed their first micro-batch. */
  let owed = places.fresh.size + (time < state.reserveUntil ? places.expected.size : 0);
  // Who has a double to do has no share: what is left is for those who are left.
  let unserved = audits?.isPossible ? speedOf([...places.fresh, ...places.expected], audits) : null;
  for (const client of candidates(state, owed)) {
    const isFirst = client.place === "fresh";
    if (isFirst) owed -= 1;
    if (audits?.isChosen(client.id)) continue;
    const available = coverage.free - owed;
    if (available <= 0 && !isFirst) continue;
    const size = shardSize({
      speed: client.doubted ? null : client.speed,
      everyone: isFirst && unserved !== null ? unserved : state.speed,
      work: isFirst && unserved === null ? coverage.total : coverage.free,
    });
    const range = coverage.take(Math.min(size, client.capacity, Math.max(1, available)));
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
    const auditor = openDouble(state, client, lease);
    if (unserved === null) continue;
    if (isFirst) unserved -= client.speed ?? 0;
    if (auditor?.place === "fresh") unserved -= auditor.speed ?? 0;
  }
}

/** Everything is handed out and somebody idles: whoever is overdue is not waited for alone. */
export function speculate(state: RoundState, time: number, effects: RoundEffect[]): void {
  while (time >= state.nextOverdue && time >= idleFrom(state)) {
    const held = takeOverdue(state, time);
    if (held === null) return;
    lapse(state, held, time);
    assignWork(state, time, effects);
  }
}

/**
 * From when on somebody would take what became free, and there is nothing left. Whoever had something waits for as long as that
 * would be kept for clients that are expected: a lease that lapses then would lapse for nobody.
 */
function idleFrom(state: RoundState): number {
  const { coverage, places, audits, reserveUntil } = state;
  if (!isOpen(state) || coverage.free > 0) return Number.POSITIVE_INFINITY;
  const hasIdle = (place: "fresh" | "returning"): boolean => {
    for (const { id } of places[place]) if (!audits?.isChosen(id)) return true;
    return false;
  };
  if (hasIdle("fresh")) return Number.NEGATIVE_INFINITY;
  if (!hasIdle("returning")) return Number.POSITIVE_INFINITY;
  return places.expected.size > 0 && reserveUntil !== null ? reserveUntil : Number.NEGATIVE_INFINITY;
}

/** The lease that is overdue longest. Not one that is compared with another, nor a newcomer's: their late results count for nothing. */
function takeOverdue(state: RoundState, time: number): HeldLease | null {
  const { audits, leases } = state;
  let found: HeldLease | null = null;
  state.nextOverdue = Number.POSITIVE_INFINITY;
  for (const held of leases.values()) {
    if (held.expired || audits?.isDoubled(held.lease.id) || audits?.isBelieved(held.client.id) === false) continue;
    if (held.overdueAt <= time && held.overdueAt < (found?.overdueAt ?? Number.POSITIVE_INFINITY)) found = held;
    state.nextOverdue = Math.min(state.nextOverdue, held.overdueAt);
  }
  return found;
}

/** Of those who are not to do something else. */
function speedOf(clients: readonly Client[], audits: AuditDesk): number {
  let sum = 0;
  for (const { id, speed } of clients) if (!audits.isChosen(id)) sum += speed ?? 0;
  return sum;
}

function candidates({ places, coverage }: RoundState, owed: number): Client[] {
  const { fresh, returning, doubted, working } = places;
  if (fresh.size + returning.size + working.size === 0) return [...doubted].sort(fastestFirst);
  if (coverage.free <= owed) return [...fresh].sort(fastestFirst);
  return [...fresh, ...returning].sort(fastestFirst);
}

/** The next time at which something changes by itself: a deadline, or the end of what is kept for expected clients. */
export function scheduleWake(state: RoundState, now: number, effects: RoundEffect[]): void {
  let next = state.nextDeadline;
  next = Math.min(next, Math.max(state.nextOverdue, idleFrom(state)));
  if (isOpen(state) && hasQuorum(state)) next = Math.min(next, allOverdueFrom(state));
  const { reserveUntil, places } = state;
  const areHeldBack = isOpen(state) && state.coverage.free > 0 && places.returning.size + places.doubted.size > 0;
  if (areHeldBack && reserveUntil !== null && reserveUntil > now) next = Math.min(next, reserveUntil);
  const time = Number.isFinite(next) ? next - state.setBack : null;
  if (time === state.lastWake) return;
  state.lastWake = time;
  effects.push({ type: "wake", time });
}
