/** Whether a checkpoint's state is one that its session can be in, and the same state in a session that is to last longer. */

import { canonicalJson } from "../session/canonical.ts";
import type { SessionDefinition } from "../session/definition.ts";
import { evaluatesAfter, planRun, type RunPlan } from "../session/plan.ts";
import { CheckpointError, type CheckpointHead, type CheckpointState } from "./head.ts";

/** At which steps each stage can be. */
const POSSIBLE: {
  readonly [Stage in CheckpointState["stage"]]: (plan: RunPlan, step: number, stopsEarly: boolean) => boolean;
} = {
  calibrate: (_plan, step) => step === 0,
  train: ({ totalSteps }, step) => step < totalSteps,
  validate: evaluatesAfter,
  test: ({ testSamples, totalSteps }, step, stopsEarly) => testSamples > 0 && (step === totalSteps || stopsEarly),
  done: ({ totalSteps }, step, stopsEarly) => step === totalSteps || stopsEarly,
};

/** Throws CheckpointError `checkpoint-mismatch` unless a run of this session can be here. */
export function requirePossible({ stage, step, best }: CheckpointState, definition: SessionDefinition): void {
  const plan = planRun(definition);
  if (step > plan.totalSteps) {
    throw new CheckpointError(
      "checkpoint-mismatch",
      `it has done ${step} steps, the session has ${plan.totalSteps}: give it more epochs or steps`,
    );
  }
  const isPossible = POSSIBLE[stage](plan, step, definition.earlyStopping !== undefined);
  if (!isPossible || (best !== null && (best.step > step || plan.validationSamples === 0))) {
    throw new CheckpointError("checkpoint-mismatch", `no run of this session is in stage ${stage} after ${step} steps`);
  }
}

/** What may differ between the session that a checkpoint is of and the one that goes on: how long it lasts. */
const DURATION: ReadonlySet<string> = new Set(["epochs", "maxSteps"]);

/** Names of what differs between two definitions, apart from how long they last. */
export function differences(before: SessionDefinition, after: SessionDefinition): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  const text = (definition: SessionDefinition, name: string): string =>
    canonicalJson({ value: Reflect.get(definition, name) });
  return [...names].filter((name) => !DURATION.has(name) && text(before, name) !== text(after, name)).sort();
}

/**
 * The state of a checkpoint in a session that differs in its epochs and steps alone. One that had come to its end goes on.
 * Throws CheckpointError `checkpoint-mismatch` where anything else differs, where nothing is left to do, and where the
 * training ended by putting earlier weights back, which the optimizer's state does not belong to.
 */
export function prolong(
  { state, parts }: Pick<CheckpointHead, "state" | "parts">,
  before: SessionDefinition,
  after: SessionDefinition,
): CheckpointState {
  const others = differences(before, after);
  if (others.length > 0) {
    throw new CheckpointError("checkpoint-mismatch", `the session is another one: it differs in ${others.join(", ")}`);
  }
  const [old, plan] = [planRun(before), planRun(after)];
  const isOver = state.stage === "test" || state.stage === "done";
  if (old.totalSteps === plan.totalSteps && state.stage !== "done") return state;
  if (state.step >= plan.totalSteps) {
    throw new CheckpointError(
      "checkpoint-mismatch",
      `it has done ${state.step} steps of ${plan.totalSteps}: there is nothing left to do without more epochs or steps`,
    );
  }
  const ended = before.average === undefined ? "latest.weights" : "latest.average";
  const latest = parts.find(({ name }) => name === ended);
  if (isOver && state.weightsHash !== null && state.weightsHash !== latest?.sha256) {
    throw new CheckpointError(
      "checkpoint-mismatch",
      `its training ended with the weights of step ${state.best?.step ?? "?"} put back, which nothing goes on from: export before the end, or with restoreBest: false`,
    );
  }
  const staysOpen = state.stage === "validate" && evaluatesAfter(plan, state.step);
  const stage = isOver || (state.stage === "validate" && !staysOpen) ? "train" : state.stage;
  return { ...state, stage, weightsHash: null, bestHash: null };
}
