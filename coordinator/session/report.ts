/** What is said of a session to those who ask: its progress, and its result once it is over. */

import type { Progress } from "../../shared/protocol/messages.ts";
import { epochOf, type RunPlan } from "../../shared/session/plan.ts";
import type { MetricRow, RunState, SessionStore } from "../store/store.ts";
import { isOver } from "./retention.ts";

/** Members in a result: those that contributed most. */
const MEMBERS_SHOWN = 200;

/** The part of a progress message that storage knows. */
export function storedProgress(
  state: RunState,
  plan: RunPlan,
  train: MetricRow | null,
  validation: MetricRow | null,
): Omit<Progress, "type" | "status" | "samplesPerSecond" | "clientCount" | "clients"> {
  return {
    stage: state.stage,
    reason: state.reason,
    step: state.step,
    totalSteps: plan.totalSteps,
    epoch: epochOf(plan, Math.min(state.step, plan.totalSteps - 1)),
    version: state.version,
    loss: train?.loss ?? null,
    metrics: train?.metrics ?? {},
    validation:
      validation === null || validation.loss === null
        ? null
        : { step: validation.step, loss: validation.loss, metrics: validation.metrics },
  };
}

/** Progress of a session that sleeps: nobody is connected. */
export function idleProgress(store: SessionStore, state: RunState, plan: RunPlan): Progress {
  return {
    type: "progress",
    ...storedProgress(state, plan, store.lastMetric("train"), store.lastMetric("validate")),
    status: state.status === "running" ? "waiting" : state.status,
    samplesPerSecond: 0,
    clientCount: 0,
    clients: [],
  };
}

/** What came out, once it is over; null before. Hashes are of what was trained to its end. */
export function describeResult(store: SessionStore, state: RunState) {
  if (!isOver(state)) return null;
  const test = store.lastMetric("test");
  return {
    testLoss: test?.loss ?? null,
    testMetrics: test?.metrics ?? null,
    bestStep: state.best?.step ?? state.step,
    weightsHash: state.weightsHash,
    bestHash: state.bestHash ?? state.weightsHash,
    // Public identities are shown by their first 8 characters, as in progress messages.
    members: store
      .members()
      .slice(0, MEMBERS_SHOWN)
      .map(({ repeated: _, ...member }) => ({ ...member, id: member.id.slice(0, 8) })),
  };
}
