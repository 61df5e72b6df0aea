/** The held-out figure that is shown: accuracy where the session has it, else the loss. */

import type { SessionDefinition } from "../../shared/session/definition.ts";
import { formatMetric } from "./format.ts";

export interface HeldOut {
  /** Whether the session holds samples out at all. */
  readonly isMeasured: boolean;
  /** For people. */
  readonly name: "accuracy" | "loss";
  format(value: number): string;
  /** Null where nothing was measured. */
  of(evaluation: { readonly loss: number | null; readonly metrics: Readonly<Record<string, number>> }): number | null;
}

export function heldOutOf({ graph, data }: SessionDefinition): HeldOut {
  const metric = "correct" in graph.outputs.metrics ? "correct" : "loss";
  return {
    isMeasured: data.source === "dataset" && data.validation[0] < data.validation[1],
    name: metric === "correct" ? "accuracy" : "loss",
    format: (value) => formatMetric(metric, value),
    of: ({ loss, metrics }) => metrics[metric] ?? loss,
  };
}
