/**
 * A fleet in virtual time: the real round machine with its audits, clients of different speeds over lines of different lengths, some
 * of whom cheat. Gradients are modelled (gradients.ts), and made only where somebody compares them.
 *
 * Left out: faults of the network and restarts, which the simulation has (test/simulation).
 */

import { AuditDesk, type AuditOptions, NEWCOMER, type Standing } from "../../../coordinator/audit/index.ts";
import {
  advance,
  createRound,
  type Lease,
  type RoundEvent,
  type RoundState,
} from "../../../coordinator/round/index.ts";
import type { RunPlan } from "../../../shared/session/plan.ts";
import { Chance, Timeline } from "../round/timeline.ts";
import { type Cheat, type Engine, Network } from "./gradients.ts";

export interface FleetClient {
  readonly id: string;
  readonly engine: Engine;
  /** What it does of its next lease, by the shards of it that were accepted: null for the right thing. */
  readonly cheat: (accepted: number, step: number) => Cheat | null;
  readonly isProven: boolean;
  /** Who shares a block with others; its own if absent. */
  readonly block?: string;
}

export interface FleetOptions {
  readonly seed: number;
  readonly clients: readonly FleetClient[];
  /** Of a step. */
  readonly microBatches: number;
  /** Null for none. */
  readonly audits: AuditOptions | null;
  /** Says when it is enough, after every step and ban. */
  readonly isOver: (outcome: Outcome) => boolean;
}

export interface Outcome {
  steps: number;
  /** Begun again, because what they had added up to was not to be trusted. */
  restarts: number;
  /** Micro-batches that clients computed, and those of steps that were made. */
  computed: number;
  useful: number;
  /** Results and weights that travelled. */
  results: number;
  downlinks: number;
  milliseconds: number;
  /** Accepted shards of who was banned, at that moment. */
  readonly banned: Map<string, number>;
  readonly counts: Readonly<AuditDesk["counts"]> | null;
}

const LATENCY = [10, 80] as const;
/** Milliseconds that a micro-batch takes the fastest and the slowest. */
const PACE = [10, 40] as const;
const COMMIT = 3;
const STEPS = 1_000_000;

export function runFleet({ seed, clients, microBatches, audits, isOver }: FleetOptions): Outcome {
  const chance = new Chance(seed);
  const time = new Timeline();
  const network = new Network(seed, microBatches);
  const desk = audits === null ? null : new AuditDesk({ ...audits, key: [seed, 1], most: 1_024 });
  const plan: RunPlan = {
    trainSamples: microBatches * STEPS,
    validationSamples: 0,
    testSamples: 0,
    batchSize: microBatches,
    microBatch: 1,
    stepsPerEpoch: STEPS,
    totalSteps: STEPS,
  };
  const state: RoundState = createRound(plan, {
    stage: "train",
    step: 0,
    version: 1,
    status: "running",
    nextLease: 1,
    ...(desk === null ? {} : { audits: desk }),
  });
  const members = new Map(
    clients.map((client) => [
      client.id,
      { client, pace: chance.magnitude(...PACE), latency: chance.magnitude(...LATENCY), accepted: 0, busy: 0 },
    ]),
  );
  const outcome: Outcome = {
    steps: 0,
    restarts: 0,
    computed: 0,
    useful: 0,
    results: 0,
    downlinks: 0,
    milliseconds: 0,
    banned: new Map(),
    counts: desk?.counts ?? null,
  };
  const revoked = new Set<number>();
  let tickAt: number | null = null;

  const compute = (id: string, lease: Lease): void => {
    const member = members.get(id);
    if (member === undefined) return;
    const { client, pace, latency } = member;
    const size = lease.to - lease.from;
    const begins = Math.max(time.now + latency, member.busy);
    member.busy = begins + size * pace * (0.9 + 0.2 * chance.next());
    const cheat = client.cheat(member.accepted, lease.step);
    time.at(member.busy + latency, () => {
      if (!members.has(id)) return;
      outcome.computed += size;
      outcome.results += 1;
      if (revoked.delete(lease.id)) return;
      const isDoubled = desk?.isDoubled(lease.id) === true;
      const evidence = isDoubled ? { evidence: network.result(lease, client.engine, cheat, chance) } : {};
      const { version, step } = lease;
      act({ type: "result", time: time.now, client: id, lease: lease.id, version, step, ...evidence });
    });
  };

  const next = (type: "committed" | "restarted", step: number): void => {
    time.after(COMMIT, () => {
      const version = state.version + 1;
      outcome.downlinks += members.size;
      act({ type, time: time.now, stage: "train", step, version, ahead: [...members.keys()] });
    });
  };

  const act = (event: RoundEvent): void => {
    const convicted: string[] = [];
    for (const effect of advance(state, event)) {
      switch (effect.type) {
        case "assign":
          compute(effect.client, effect.lease);
          break;
        case "revoke":
          revoked.add(effect.lease);
          break;
        case "accept": {
          const member = members.get(effect.client);
          if (member !== undefined) member.accepted += 1;
          break;
        }
        case "complete":
          outcome.steps += 1;
          outcome.useful += microBatches;
          outcome.milliseconds = time.now;
          desk?.takeChanges();
          next("committed", effect.step + 1);
          break;
        case "convict":
          convicted.push(...effect.clients);
          break;
        case "wake":
          tickAt = effect.time;
          if (effect.time !== null) {
            const due = effect.time;
            time.at(due, () => {
              if (tickAt === due) act({ type: "tick", time: due });
            });
          }
          break;
        default:
      }
    }
    if (convicted.length === 0) return;
    outcome.restarts += 1;
    for (const id of convicted) {
      outcome.banned.set(id, members.get(id)?.accepted ?? 0);
      members.delete(id);
      act({ type: "left", time: time.now, client: id });
    }
    next("restarted", state.step);
  };

  for (const { id, isProven, block = id } of clients) {
    const streak = isProven ? (audits?.newcomers ?? 0) : 0;
    const standing: Standing = { ...NEWCOMER, streak };
    const audit = { block, standing, isReferee: false };
    act({ type: "joined", time: time.now, client: id, version: null, lease: null, audit });
    act({ type: "ready", time: time.now, client: id, version: 1 });
  }
  let seen = -1;
  while (time.step()) {
    if (outcome.steps + outcome.restarts === seen) continue;
    seen = outcome.steps + outcome.restarts;
    if (isOver(outcome)) break;
  }
  return outcome;
}
