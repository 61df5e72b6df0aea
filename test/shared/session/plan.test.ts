import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SessionDefinition } from "../../../shared/session/definition.ts";
import {
  epochOf,
  evaluatesAfter,
  microBatchesPerStep,
  planRun,
  workMicroBatches,
  workSamples,
} from "../../../shared/session/plan.ts";

/** The fields of a definition that a plan depends on. */
function definition(train: number, validation: number, batchSize: number, epochs: number, maxSteps: number | null) {
  const data = {
    source: "dataset",
    dataset: "d",
    inputs: {},
    train: [0, train],
    validation: [train, train + validation],
    test: [0, 0],
  };
  return { data, batchSize, microBatch: 32, epochs, maxSteps } as unknown as SessionDefinition;
}

describe("the plan of a run", () => {
  it("covers every sample of an epoch exactly once, the last batch short", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 700 }), (train, batchSize) => {
        const plan = planRun(definition(train, 0, batchSize, 2, null));
        let next = 0;
        for (let step = 0; step < plan.stepsPerEpoch; step++) {
          const { from, to } = workSamples(plan, "train", step);
          expect(from).toBe(next);
          expect(to - from).toBeGreaterThan(0);
          expect(workMicroBatches(plan, "train", step)).toBeLessThanOrEqual(microBatchesPerStep(plan));
          next = to;
        }
        expect(next).toBe(train);
        expect(workSamples(plan, "train", plan.stepsPerEpoch)).toEqual(workSamples(plan, "train", 0));
      }),
    );
  });

  it("of MNIST in batches of 128 has 430 steps an epoch", () => {
    const plan = planRun(definition(55_000, 5_000, 128, 5, null));
    expect(plan).toMatchObject({ stepsPerEpoch: 430, totalSteps: 2150, validationSamples: 5000 });
    expect(microBatchesPerStep(plan)).toBe(4);
    expect(workMicroBatches(plan, "train", 429)).toBe(3); // 88 samples
    expect(workMicroBatches(plan, "validate", 429)).toBe(157);
    expect(epochOf(plan, 429)).toBe(0);
    expect(epochOf(plan, 430)).toBe(1);
  });

  it("evaluates after each epoch and at the end, never without a validation split", () => {
    const plan = planRun(definition(1000, 100, 100, 5, 25));
    expect(plan.totalSteps).toBe(25);
    const evaluations = Array.from({ length: 26 }, (_, steps) => steps).filter((steps) => evaluatesAfter(plan, steps));
    expect(evaluations).toEqual([10, 20, 25]);
    expect(evaluatesAfter(planRun(definition(1000, 0, 100, 5, 25)), 10)).toBe(false);
  });
});
