/**
 * Hands out leases a second time (coordinator/audit says which, and what follows from the results). A double is the same run for somebody
 * else, in the same step: clients hold no other weights. Its coverage is the first one's; the sums get whichever result comes
 * first.
 */

import type { Double } from "../audit/index.ts";
import { leaseTime } from "./sizing.ts";
import { type Client, hold, isOpen, type RoundState } from "./state.ts";
import type { Lease, RoundEffect } from "./types.ts";

/** Of an auditor's speed, beside that of whom it audits: the step waits for both. */
const COMPARABLE = 0.8;

/**
 * Perhaps somebody else is to compute this new lease, too: answers who. The lease was cut before that is known, and does not tell. Where
 * nobody is idle, it is somebody who will be.
 */
export function openDouble(state: RoundState, client: Client, lease: Lease): Client | null {
  const { audits, places } = state;
  if (audits === null || !audits.draws(client.id)) return null;
  const double = audits.open(lease.id, client.id, lease);
  return choose(state, double, [...places.fresh, ...places.returning]) ?? choose(state, double, [...places.working]);
}

/** Gives doubles to idle clients: to those that were drawn for them, or else to others that could do it. */
export function assignDoubles(state: RoundState, time: number, effects: RoundEffect[]): void {
  const { audits, places } = state;
  if (audits === null || !isOpen(state)) return;
  for (const double of [...audits.lacking()]) {
    if (places.fresh.size + places.returning.size === 0) return;
    const chosen = double.chosen === null ? undefined : state.clients.get(double.chosen);
    const isLast = state.coverage.free === 0;
    const isBusy = chosen !== undefined && chosen.place === "working" && !isLast;
    if (isBusy) continue;
    const isReady = chosen?.place === "fresh" || chosen?.place === "returning";
    const canDoIt = isReady && chosen.capacity >= double.to - double.from;
    const client = canDoIt ? chosen : choose(state, double, [...places.fresh, ...places.returning]);
    if (client === null) continue;
    const lease = leaseOf(state, double, client, time);
    hold(state, client, lease);
    audits.take(double, lease.id, client.id);
    effects.push({ type: "assign", client: client.id, lease });
  }
}

function choose(state: RoundState, double: Double, clients: readonly Client[]): Client | null {
  const { audits } = state;
  if (audits === null) return null;
  const size = double.to - double.from;
  const able = clients.filter(({ id, capacity }) => capacity >= size && audits.isEligible(double, id));
  const [first] = double.leases.values();
  const pace = first === undefined ? 0 : (state.clients.get(first)?.speed ?? 0);
  const comparable = able.filter(({ speed }) => (speed ?? pace) >= pace * COMPARABLE);
  const pool = comparable.length > 0 ? comparable : able;
  const chosen = audits.choose(
    double,
    pool.map(({ id }) => id),
  );
  return chosen === null ? null : (state.clients.get(chosen) ?? null);
}

function leaseOf(state: RoundState, { from, to }: Double, client: Client, time: number): Lease {
  const { stage, step, version } = state;
  if (stage === "done") throw new Error("nothing is open that could be doubled");
  const deadline = time + leaseTime(client.speed, to - from);
  return { id: state.nextLease++, work: stage, step, version, from, to, assignedAt: time, deadline };
}
