/** What a simulated training consists of: a random plan, its pieces in order, and one integer as the gradient of a micro-batch. */

import type { Lease } from "../../../coordinator/round/index.ts";
import { evaluatesAfter, type RunPlan, workSamples } from "../../../shared/session/plan.ts";
import type { Chance } from "./timeline.ts";

const WORKS = { calibrate: 1, train: 2, validate: 3, test: 4 } as const;

export function choosePlan(chance: Chance): RunPlan {
  const microBatch = chance.integer(1, 8);
  const batchSize = microBatch * Math.round(chance.magnitude(1, 96));
  const trainSamples = chance.integer(batchSize, batchSize * 4);
  const stepsPerEpoch = Math.ceil(trainSamples / batchSize);
  return {
    trainSamples,
    validationSamples: chance.happens(0.6) ? chance.integer(1, microBatch * 60) : 0,
    testSamples: chance.happens(0.6) ? chance.integer(1, microBatch * 60) : 0,
    batchSize,
    microBatch,
    stepsPerEpoch,
    totalSteps: Math.min(stepsPerEpoch * 8, Math.round(chance.magnitude(1, 32))),
  };
}

/** Every piece of work of a run, in order. */
export function piecesOf(plan: RunPlan): string[] {
  const pieces = ["calibrate 0"];
  for (let step = 0; step < plan.totalSteps; step++) {
    pieces.push(`train ${step}`);
    if (evaluatesAfter(plan, step + 1)) pieces.push(`validate ${step + 1}`);
  }
  if (plan.testSamples > 0) pieces.push(`test ${plan.totalSteps}`);
  return pieces;
}

/** Sum of the gradients of a run of micro-batches: in practice no other set of micro-batches of any piece has the same. */
export function sumOf(work: Lease["work"], step: number, from: number, to: number): number {
  let sum = 0;
  for (let at = from; at < to; at++) {
    let word = Math.imul(WORKS[work], 0x9e3779b1) ^ Math.imul(step + 1, 0x85ebca6b) ^ Math.imul(at + 1, 0xc2b2ae35);
    word = Math.imul(word ^ (word >>> 15), 0x2c1b3c6d);
    sum += (word ^ (word >>> 12)) >>> 0;
  }
  return sum;
}

/** Samples of a lease: the last micro-batch of a piece may be short. */
export function samplesOf(plan: RunPlan, { work, step, from, to }: Lease): number {
  const range = workSamples(plan, work, step);
  const size = range.to - range.from;
  return Math.min(to * plan.microBatch, size) - Math.min(from * plan.microBatch, size);
}
