/**
 * A deterministic simulation of the round machine: virtual time, seeded clients and faults, invariants checked at every
 * event. The shell around the machine is played here: it carries out effects, commits pieces, and may be restarted at any
 * point with only what would be durable (stage, step, version) and what socket attachments hold (identity, version, lease).
 */

import {
  advance,
  createRound,
  type Lease,
  type RoundEffect,
  type RoundEvent,
  type RoundState,
  type Stage,
} from "../../coordinator/round/index.ts";
import { evaluatesAfter, type RunPlan, workMicroBatches } from "../../shared/session/plan.ts";

export interface Outcome {
  readonly events: number;
  readonly steps: number;
  readonly restarts: number;
  readonly dropped: number;
}

/** A small generator for faults: only its determinism matters (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Player {
  readonly id: string;
  /** Milliseconds a micro-batch takes. */
  readonly pace: number;
  /** How it behaves with a lease. */
  readonly temper: "steady" | "hangs" | "late" | "fails" | "repeats" | "stale" | "steals";
  connected: boolean;
  version: number | null;
  lease: Lease | null;
}

export class InvariantError extends Error {}

function requireThat(claim: boolean, message: string): asserts claim {
  if (!claim) throw new InvariantError(message);
}

/** Runs one seed to its end. Throws InvariantError if something that must hold does not, or if nothing goes on. */
export function simulate(seed: number, advanceOne: typeof advance = advance): Outcome {
  const random = generator(seed);
  const integer = (least: number, most: number): number => least + Math.floor(random() * (most - least + 1));
  const microBatch = 4;
  const plan: RunPlan = (() => {
    const batchSize = microBatch * integer(1, 12);
    const trainSamples = integer(batchSize, batchSize * 4);
    const stepsPerEpoch = Math.ceil(trainSamples / batchSize);
    const totalSteps = Math.min(stepsPerEpoch * 2, 8);
    const validationSamples = random() < 0.5 ? integer(1, 40) : 0;
    return {
      trainSamples,
      validationSamples,
      testSamples: integer(0, 20),
      batchSize,
      microBatch,
      stepsPerEpoch,
      totalSteps,
    };
  })();

  let time = 0;
  const queue: { at: number; order: number; run: () => void }[] = [];
  let order = 0;
  const later = (delay: number, run: () => void): void => {
    queue.push({ at: time + delay, order: order++, run });
  };

  let stage = "calibrate" as Stage;
  let step = 0;
  let version = 1;
  let round: RoundState = createRound(plan, { stage, step, version, status: "running", nextLease: 1 });
  let nextLease = 1;
  let accepted = new Set<number>();
  const handedOut = new Map<number, Lease>();
  let completions = 0;
  let wakeAt: number | null = null;
  let events = 0;
  let restarts = 0;
  let dropped = 0;
  let incarnation = 0;

  const tempers: Player["temper"][] = ["steady", "hangs", "late", "fails", "repeats", "stale", "steals"];
  const players: Player[] = Array.from({ length: integer(1, 9) }, (_, index) => ({
    id: `client-${index}`,
    pace: integer(1, 400),
    // The first one always works in the end, so that everything can finish.
    temper: index === 0 ? "steady" : tempers[integer(0, tempers.length - 1)],
    connected: false,
    version: null,
    lease: null,
  }));
  const byId = new Map(players.map((player) => [player.id, player]));

  const send = (event: RoundEvent): void => {
    events += 1;
    requireThat(events < 200_000, `seed ${seed}: no end after ${events} events`);
    for (const effect of advanceOne(round, event)) carryOut(effect);
  };

  function carryOut(effect: RoundEffect): void {
    switch (effect.type) {
      case "assign": {
        const { lease } = effect;
        const player = byId.get(effect.client)!;
        requireThat(player.connected, `${effect.client} is not connected`);
        requireThat(player.version === version && lease.version === version, "work at other weights than the client's");
        requireThat(lease.work === stage && lease.step === step, "work of another piece");
        requireThat(
          lease.from < lease.to && lease.to <= workMicroBatches(plan, lease.work, step),
          "a run outside the piece",
        );
        for (const other of handedOut.values()) {
          const apart = other.to <= lease.from || lease.to <= other.from;
          requireThat(apart || other.deadline <= time, `lease ${lease.id} overlaps ${other.id}, which has time left`);
        }
        requireThat(!handedOut.has(lease.id) && lease.id >= nextLease, `lease number ${lease.id} was used before`);
        nextLease = lease.id + 1;
        handedOut.set(lease.id, lease);
        player.lease = lease;
        work(player, lease);
        break;
      }
      case "revoke":
        handedOut.delete(effect.lease);
        break;
      case "accept":
        for (let at = effect.lease.from; at < effect.lease.to; at++) {
          requireThat(!accepted.has(at), `micro-batch ${at} of step ${step} was accepted twice`);
          accepted.add(at);
        }
        handedOut.delete(effect.lease.id);
        break;
      case "drop":
        dropped += 1;
        break;
      case "complete": {
        requireThat(effect.work === stage && effect.step === step, "another piece was completed");
        requireThat(accepted.size === workMicroBatches(plan, stage, step), "completed with micro-batches missing");
        completions += 1;
        requireThat(completions === 1, "a piece was completed twice");
        const mine = incarnation;
        later(integer(0, 20), () => {
          if (mine === incarnation) commit();
        });
        break;
      }
      case "broadcast":
        requireThat(effect.version === version, "a broadcast of other weights");
        for (const player of players) if (player.connected) becomeReady(player);
        break;
      case "wake":
        wakeAt = effect.time;
        if (effect.time !== null) {
          const at = effect.time;
          later(Math.max(0, at - time), () => {
            if (wakeAt === at) send({ type: "tick", time });
          });
        }
        break;
      default:
        effect satisfies never;
    }
  }

  /** What the real shell makes durable, then announces. */
  function commit(): void {
    const before = { step, version };
    if (stage === "calibrate") [stage, version] = ["train", version + 1];
    else if (stage === "train") {
      step += 1;
      version += 1;
      if (evaluatesAfter(plan, step)) stage = "validate";
      else if (step === plan.totalSteps) stage = plan.testSamples > 0 ? "test" : "done";
    } else if (stage === "validate") {
      const ended = step === plan.totalSteps;
      stage = ended ? (plan.testSamples > 0 ? "test" : "done") : "train";
      if (ended) version += 1;
    } else stage = "done";
    requireThat(step >= before.step && version >= before.version, "step or version fell");
    accepted = new Set();
    completions = 0;
    handedOut.clear();
    send({ type: "committed", time, stage, step, version });
  }

  function becomeReady(player: Player): void {
    later(integer(0, 60), () => {
      if (!player.connected) return;
      player.version = version;
      player.lease = player.lease?.version === version ? player.lease : null;
      send({ type: "ready", time, client: player.id, version });
    });
  }

  function connect(player: Player): void {
    player.connected = true;
    player.version = null;
    player.lease = null;
    send({ type: "joined", time, client: player.id, version: null, lease: null });
    becomeReady(player);
  }

  function work(player: Player, lease: Lease): void {
    const duration = player.pace * (lease.to - lease.from) + integer(1, 30);
    const answer = (client: string, what: { version?: number; lease?: number } = {}): void =>
      send({
        type: "result",
        time,
        client,
        lease: what.lease ?? lease.id,
        version: what.version ?? lease.version,
        step: lease.step,
      });
    const misbehaves = random() < 0.3;
    const temper = misbehaves ? player.temper : "steady";
    if (temper === "hangs") return;
    later(temper === "late" ? duration + integer(10_000, 60_000) : duration, () => {
      if (!player.connected || player.lease?.id !== lease.id) return;
      if (temper === "fails") {
        player.lease = null;
        handedOut.delete(lease.id);
        return send({ type: "failed", time, client: player.id, lease: lease.id });
      }
      if (temper === "stale") answer(player.id, { version: Math.max(0, lease.version - 1) });
      if (temper === "steals" && players.length > 1) {
        const other = [...handedOut.values()].find(({ id }) => id !== lease.id);
        if (other !== undefined) answer(player.id, { lease: other.id });
      }
      player.lease = null;
      answer(player.id);
      if (temper === "repeats") answer(player.id);
    });
  }

  /** The object lost its memory: only what is durable and what attachments hold comes back. */
  function restart(): void {
    restarts += 1;
    incarnation += 1;
    accepted = new Set();
    completions = 0;
    wakeAt = null;
    handedOut.clear();
    nextLease += 1000;
    round = createRound(plan, { stage, step, version, status: "running", nextLease });
    // Those that still compute come first, so that nobody is given their work.
    for (const player of [...players].sort((x, y) => Number(x.lease === null) - Number(y.lease === null))) {
      if (!player.connected) continue;
      const { lease } = player;
      send({ type: "joined", time, client: player.id, version: player.version, lease });
      if (lease !== null && round.leases.has(lease.id)) handedOut.set(lease.id, lease);
      if (player.version !== version) becomeReady(player);
    }
    send({ type: "tick", time });
  }

  for (const player of players) later(integer(0, 500), () => connect(player));
  const disturb = (): void => {
    if (stage === "done") return;
    const player = players[integer(0, players.length - 1)];
    const dice = random();
    if (dice < 0.25) {
      if (player.connected && player !== players[0]) {
        player.connected = false;
        if (player.lease !== null) handedOut.delete(player.lease.id);
        send({ type: "left", time, client: player.id });
      } else if (!player.connected) connect(player);
    } else if (dice < 0.4) {
      if (player.connected) {
        if (player.lease !== null) handedOut.delete(player.lease.id);
        connect(player); // its old socket is replaced
      }
    } else if (dice < 0.5) restart();
    else if (dice < 0.6 && player.connected) {
      if (player.lease !== null) handedOut.delete(player.lease.id);
      player.lease = null;
      send({ type: "capacity", time, client: player.id, microBatches: 0 });
      later(integer(10, 3000), () => {
        if (player.connected) send({ type: "capacity", time, client: player.id, microBatches: integer(1, 5) });
      });
    } else if (dice < 0.65) {
      send({ type: "control", time, action: "pause" });
      later(integer(10, 500), () => send({ type: "control", time, action: "resume" }));
    }
    if (time < 300_000) later(integer(50, 2000), disturb);
    else for (const each of players) if (!each.connected) connect(each);
  };
  later(1000, disturb);

  while (queue.length > 0) {
    queue.sort((a, b) => a.at - b.at || a.order - b.order);
    const next = queue.shift()!;
    time = next.at;
    next.run();
    if (stage === "done") break;
  }
  requireThat(
    stage === "done",
    `seed ${seed}: it stood still in ${stage} of step ${step}/${plan.totalSteps} at ${time} ms`,
  );
  requireThat(step === plan.totalSteps, "it ended before its last step");
  return { events, steps: step, restarts, dropped };
}
