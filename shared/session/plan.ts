/**
 * The arithmetic of a run: which step belongs to which epoch, which positions of the epoch a step or a micro-batch
 * covers, and when the clients evaluate. Pure functions of the definition, shared by the coordinator (which hands out
 * ranges), the clients (which turn them into samples) and whoever shows progress.
 */

import type { SessionDefinition } from "./definition.ts";
import { samplesIn } from "./window.ts";

/** What clients are doing: exponents for the first grid, gradients, held-out loss each epoch, the test set once. */
export type Work = "calibrate" | "train" | "validate" | "test";

export interface RunPlan {
  readonly trainSamples: number;
  readonly validationSamples: number;
  readonly testSamples: number;
  readonly batchSize: number;
  readonly microBatch: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  /** Part of a training step's micro-batches without which it does not end; absent where all are waited for. */
  readonly quorum?: number;
}

export function planRun(definition: SessionDefinition): RunPlan {
  const { data, batchSize, microBatch, epochs, maxSteps, quorum } = definition;
  const [trainSamples, validationSamples, testSamples] =
    data.source === "dataset"
      ? [data.train, data.validation, data.test].map((range) => samplesIn(data, range))
      : [data.samplesPerEpoch, 0, 0];
  const stepsPerEpoch = Math.ceil(trainSamples / batchSize);
  const allSteps = stepsPerEpoch * epochs;
  return {
    trainSamples,
    validationSamples,
    testSamples,
    batchSize,
    microBatch,
    stepsPerEpoch,
    totalSteps: maxSteps === null ? allSteps : Math.min(allSteps, maxSteps),
    ...(quorum === undefined ? {} : { quorum }),
  };
}

/** Half-open range of samples that a piece of work covers: positions of the epoch's permutation, or of the held-out split. */
export function workSamples(plan: RunPlan, work: Work, step: number): { from: number; to: number } {
  if (work === "validate") return { from: 0, to: plan.validationSamples };
  if (work === "test") return { from: 0, to: plan.testSamples };
  const from = (step % plan.stepsPerEpoch) * plan.batchSize;
  return { from, to: Math.min(from + plan.batchSize, plan.trainSamples) };
}

/** Number of micro-batches of a piece of work; the last one may be short and is then padded with weight 0. */
export function workMicroBatches(plan: RunPlan, work: Work, step: number): number {
  const { from, to } = workSamples(plan, work, step);
  return Math.ceil((to - from) / plan.microBatch);
}

/** Micro-batches of the largest step: it fixes the bits of the fixed-point sums for the whole session. */
export function microBatchesPerStep(plan: RunPlan): number {
  return Math.ceil(Math.min(plan.batchSize, plan.trainSamples) / plan.microBatch);
}

/** Epoch that a step (counted from 0) belongs to, counted from 0. */
export function epochOf(plan: RunPlan, step: number): number {
  return Math.floor(step / plan.stepsPerEpoch);
}

/** Whether the model is evaluated once `steps` updates are done: after every epoch and at the end. */
export function evaluatesAfter(plan: RunPlan, steps: number): boolean {
  return plan.validationSamples > 0 && steps > 0 && (steps % plan.stepsPerEpoch === 0 || steps === plan.totalSteps);
}
