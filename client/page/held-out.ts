/** The held-out figure that is shown: accuracy where the session has it, else the loss. */

import type { Graph } from "../../shared/graph/ir.ts";
import { formatMetric } from "./format.ts";

export interface HeldOut {
  /** For people. */
  readonly name: "accuracy" | "loss";
  format(value: number): string;
  /** Null where nothing was measured. */
  of(evaluation: { readonly loss: number | null; readonly metrics: Readonly<Record<string, number>> }): number | null;
}

export function heldOutOf({ outputs }: Graph): HeldOut {
  const metric = "correct" in outputs.metrics ? "correct" : "loss";
  return {
    name: metric === "correct" ? "accuracy" : "loss",
    format: (value) => formatMetric(metric, value),
    of: ({ loss, metrics }) => metrics[metric] ?? loss,
  };
}
