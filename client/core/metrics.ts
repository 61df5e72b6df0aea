/**
 * The coordinator's record of a session over HTTP, and what an app makes of it: every step once and in order, and
 * whole epochs. Progress messages are thinned out; this record is not.
 */

import * as v from "valibot";
import type { RunPlan } from "../../shared/session/plan.ts";
import type { SessionAddress } from "./address.ts";
import { sessionUrl } from "./address.ts";
import { describeError, TrainingError } from "./errors.ts";
import type { EpochRecord, EvaluationRecord, StepRecord } from "./events.ts";
import { get } from "./http.ts";
import type { Platform } from "./platform.ts";

const METRICS_LIMIT = 64 * 1024 * 1024;

const sums = v.record(v.string(), v.number());

const metrics = v.object({
  steps: v.array(
    v.object({
      step: v.number(),
      epoch: v.number(),
      loss: v.nullable(v.number()),
      metrics: sums,
      samples: v.number(),
      engines: sums,
      lr: v.nullable(v.number()),
      time: v.number(),
    }),
  ),
  evaluations: v.array(
    v.object({
      work: v.picklist(["validate", "test"]),
      step: v.number(),
      loss: v.nullable(v.number()),
      metrics: sums,
      tables: v.exactOptional(v.record(v.string(), v.array(v.number()))),
      time: v.number(),
    }),
  ),
});

export interface Metrics {
  readonly steps: readonly StepRecord[];
  readonly evaluations: readonly EvaluationRecord[];
}

/** Steps after `after` and all evaluations. Throws TrainingError `network` or `protocol`. */
export async function readMetrics(platform: Platform, address: SessionAddress, after: number): Promise<Metrics> {
  let body: Uint8Array;
  try {
    ({ body } = await get(platform, sessionUrl(address, `metrics?after=${after}`), METRICS_LIMIT));
  } catch (error) {
    throw new TrainingError("network", describeError(error), { cause: error });
  }
  try {
    return v.parse(metrics, JSON.parse(new TextDecoder().decode(body)));
  } catch (error) {
    throw new TrainingError("protocol", `metrics: ${describeError(error)}`, { cause: error });
  }
}

/** Puts steps into epochs; an epoch comes out once its last step and, where there is one, its evaluation are known. */
export class EpochCounter {
  readonly #plan: RunPlan;
  readonly #steps: StepRecord[] = [];
  #last: number;

  /** `after`: updates done before the first epoch of interest. */
  constructor(plan: RunPlan, after: number) {
    this.#plan = plan;
    this.#last = after;
  }

  /** The last step that was taken in. */
  get after(): number {
    return this.#last;
  }

  add({ steps, evaluations }: Metrics): EpochRecord[] {
    for (const step of steps) {
      if (step.step <= this.#last) continue;
      this.#steps.push(step);
      this.#last = step.step;
    }
    const done: EpochRecord[] = [];
    for (;;) {
      const epoch = this.#next(evaluations);
      if (epoch === null) return done;
      done.push(epoch);
    }
  }

  #next(evaluations: readonly EvaluationRecord[]): EpochRecord | null {
    const first = this.#steps[0];
    if (first === undefined) return null;
    const { stepsPerEpoch, totalSteps, validationSamples } = this.#plan;
    const end = Math.min((first.epoch + 1) * stepsPerEpoch, totalSteps);
    const evaluation = evaluations.find(({ work, step }) => work === "validate" && step === end) ?? null;
    if (this.#last < end || (validationSamples > 0 && evaluation === null)) return null;
    const steps = this.#steps.splice(
      0,
      this.#steps.findIndex(({ step }) => step > end) < 0 ? this.#steps.length : end - first.step + 1,
    );
    const counted = steps.filter(({ loss }) => loss !== null);
    const samples = counted.reduce((sum, step) => sum + step.samples, 0);
    const mean = (value: (step: StepRecord) => number | null | undefined) =>
      counted.reduce((sum, step) => sum + (value(step) ?? 0) * step.samples, 0) / samples;
    const names = samples === 0 ? [] : Object.keys(first.metrics);
    return {
      epoch: first.epoch,
      step: end,
      loss: samples === 0 ? null : mean(({ loss }) => loss),
      metrics: Object.fromEntries(names.map((name) => [name, mean((step) => step.metrics[name])])),
      validation: evaluation === null ? null : { loss: evaluation.loss, metrics: evaluation.metrics },
    };
  }
}
