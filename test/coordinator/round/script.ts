/** A round told event by event, for tests that read as a story. A RoundWitness checks every line of it. */

import {
  type Lease,
  type RoundEffect,
  type RoundEvent,
  type RoundStart,
  type RoundSummary,
  type Stage,
  summarize,
} from "../../../coordinator/round/index.ts";
import type { RunPlan } from "../../../shared/session/plan.ts";
import { RoundWitness } from "./witness.ts";

export interface Story extends Partial<RoundStart> {
  /** Micro-batches of a step; the same number for validation and test. */
  readonly microBatches?: number;
  readonly quorum?: number;
}

export class Script {
  readonly #witness: RoundWitness;
  #now = 0;
  /** The latest lease of each client. */
  readonly leases: Record<string, Lease> = {};

  constructor({ microBatches = 16, quorum, ...start }: Story = {}) {
    const plan: RunPlan = {
      trainSamples: microBatches * 100,
      validationSamples: microBatches,
      testSamples: microBatches,
      batchSize: microBatches,
      microBatch: 1,
      stepsPerEpoch: 100,
      totalSteps: 100,
      ...(quorum === undefined ? {} : { quorum }),
    };
    const defaults: RoundStart = { stage: "train", step: 0, version: 1, status: "running", nextLease: 1 };
    this.#witness = new RoundWitness(plan, { ...defaults, ...start });
  }

  get now(): number {
    return this.#now;
  }

  /** Lets milliseconds pass, unobserved. */
  wait(milliseconds: number): void {
    this.#now += milliseconds;
  }

  tick(milliseconds: number): Told {
    this.wait(milliseconds);
    return this.#tell({ type: "tick", time: this.#now });
  }

  join(client: string, { version = null, lease = null }: { version?: number | null; lease?: Lease | null } = {}): Told {
    return this.#tell({ type: "joined", time: this.#now, client, version, lease });
  }

  leave(client: string): Told {
    return this.#tell({ type: "left", time: this.#now, client });
  }

  ready(client: string, version = 1): Told {
    return this.#tell({ type: "ready", time: this.#now, client, version });
  }

  /** Joins and has the weights at once. */
  arrive(client: string, version = 1): Told {
    this.join(client);
    return this.ready(client, version);
  }

  capacity(client: string, microBatches: number): Told {
    return this.#tell({ type: "capacity", time: this.#now, client, microBatches });
  }

  /** A result for the client's latest lease, after so many milliseconds, or with what the client claims instead. */
  result(client: string, after = 0, claimed: { lease?: number; version?: number; step?: number } = {}): Told {
    this.wait(after);
    const held = this.leases[client];
    const answer = { lease: held?.id ?? 0, version: held?.version ?? 0, step: held?.step ?? 0, ...claimed };
    return this.#tell({ type: "result", time: this.#now, client, ...answer });
  }

  fail(client: string): Told {
    return this.#tell({ type: "failed", time: this.#now, client, lease: this.leases[client]?.id ?? 0 });
  }

  dispute(client: string): Told {
    return this.#tell({ type: "disputed", time: this.#now, client, lease: this.leases[client]?.id ?? 0 });
  }

  /** `ahead`: who is sent the weights at once, and given work with them. */
  commit(stage: Stage, step: number, version: number, ahead: readonly string[] = []): Told {
    return this.#tell({ type: "committed", time: this.#now, stage, step, version, ahead });
  }

  control(action: "pause" | "resume" | "stop" | "fail"): Told {
    return this.#tell({ type: "control", time: this.#now, action });
  }

  summary(): RoundSummary {
    return summarize(this.#witness.round);
  }

  #tell(event: RoundEvent): Told {
    const effects = this.#witness.advance(event);
    for (const effect of effects) if (effect.type === "assign") this.leases[effect.client] = effect.lease;
    return new Told(effects);
  }
}

/** What an event brought about. */
export class Told {
  readonly effects: readonly RoundEffect[];

  constructor(effects: readonly RoundEffect[]) {
    this.effects = effects;
  }

  /** Types of the effects in order, timers apart. */
  get types(): string[] {
    return this.effects.map(({ type }) => type).filter((type) => type !== "wake");
  }

  /** What each client was given, as `from..to`. */
  get assigned(): Record<string, string> {
    const runs: Record<string, string> = {};
    for (const effect of this.effects) {
      if (effect.type === "assign") runs[effect.client] = `${effect.lease.from}..${effect.lease.to}`;
    }
    return runs;
  }

  get revoked(): string[] {
    return this.effects.flatMap((effect) => (effect.type === "revoke" ? [effect.client] : []));
  }

  get dropped(): string[] {
    return this.effects.flatMap((effect) => (effect.type === "drop" ? [effect.reason] : []));
  }

  /** The last timer that was asked for; undefined if none was. */
  get wake(): number | null | undefined {
    return this.effects.findLast((effect) => effect.type === "wake")?.time;
  }
}
