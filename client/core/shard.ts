/** One lease on one engine: its micro-batches in order, then the sum. */

import { type RunPlan, workMicroBatches } from "../../shared/session/plan.ts";
import type { DataSource, Slot } from "../data/source.ts";
import type { Contribution, GradientEngine } from "../engine/engine.ts";
import type { Pacer } from "./pacer.ts";
import type { Lease } from "./result.ts";
import { WORKS } from "./result.ts";
import type { WeightsBody } from "./weights.ts";

const NO_EXPONENTS = new Uint8Array(0);

export interface ShardContext {
  readonly engine: GradientEngine;
  readonly data: DataSource;
  /** Filled in turn, so that the engine may still read the one before. */
  readonly slots: readonly Slot[];
  readonly plan: RunPlan;
  /** Bits of magnitude of one rounded gradient value. */
  readonly magnitudeBits: number;
  /** What the engine holds. */
  readonly held: WeightsBody;
  readonly pacer: Pacer;
}

/** Null if it was aborted. Either way the engine has come to rest. */
export async function computeShard(
  context: ShardContext,
  lease: Lease,
  signal: AbortSignal,
): Promise<Contribution | null> {
  const { engine, data, slots, plan, held, pacer } = context;
  const training = lease.work === "train";
  engine.begin({
    work: WORKS[lease.work].engine,
    step: lease.step,
    microBatches: workMicroBatches(plan, lease.work, lease.step),
    magnitudeBits: training ? context.magnitudeBits : 0,
    exponents: training ? held.exponents : NO_EXPONENTS,
  });
  try {
    for (let index = lease.from; index < lease.to && !signal.aborted; index++) {
      await pacer.start(data, signal);
      if (signal.aborted) break;
      const inputs = slots[index % slots.length];
      await data.fill({ work: lease.work, step: lease.step, index }, inputs);
      await engine.accumulate({ inputs, position: index * plan.microBatch });
      await pacer.pause(lease.work, data, engine);
    }
  } catch (error) {
    // The shard is void, and this error is the one to report; what was accumulated has to come to rest all the same.
    await engine.take().catch(() => {});
    pacer.end(lease.work, data);
    throw error;
  }
  const contribution = await engine.take().finally(() => pacer.end(lease.work, data));
  return signal.aborted ? null : contribution;
}
