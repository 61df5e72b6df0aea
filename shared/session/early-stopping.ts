/**
 * When to stop because held-out samples no longer gain anything: a pure function of the evaluations made, which are durable,
 * so that a coordinator that comes back decides as if it had never been away. The weights that are best need no minimum
 * change; only patience asks for one, as in Keras (https://keras.io/api/callbacks/early_stopping/).
 */

import type { EarlyStopping } from "./definition.ts";
import { isBetter } from "./figures.ts";

/** A held-out evaluation; the loss is null where nothing was measured. */
export interface Evaluated {
  readonly loss: number | null;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Verdict {
  /** Whether the last evaluation is better than all before. */
  readonly isBest: boolean;
  /** Evaluations since one that was better by the minimum change. */
  readonly stale: number;
  readonly stops: boolean;
}

/** What holds while a session says nothing: the loss decides which weights are best, and nothing stops. */
const NEVER: EarlyStopping = {
  metric: "loss",
  patience: Number.POSITIVE_INFINITY,
  minimumChange: 0,
  restoreBest: true,
};

/** @param evaluations oldest first, the last one being judged */
export function judge(evaluations: readonly Evaluated[], rule: EarlyStopping = NEVER): Verdict {
  const { metric, patience, minimumChange } = rule;
  let best: number | null = null;
  let reference: number | null = null;
  let stale = 0;
  let isBest = false;
  for (const { loss, metrics } of evaluations) {
    const value = metric === "loss" ? loss : (metrics[metric] ?? null);
    isBest = value !== null && (best === null || isBetter(metric, value, best, 0));
    if (isBest) best = value;
    if (value !== null && (reference === null || isBetter(metric, value, reference, minimumChange))) {
      reference = value;
      stale = 0;
    } else stale += 1;
  }
  return { isBest, stale, stops: stale >= patience };
}
