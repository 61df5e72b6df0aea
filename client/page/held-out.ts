/** The held-out figure that is shown: what the session was asked to measure, else accuracy where it has it, else the loss. */

import type { SessionDefinition } from "../../shared/session/definition.ts";
import { heldOutFigureNames } from "../../shared/session/figures.ts";
import { formatMetric } from "./format.ts";

export interface HeldOut {
  /** Whether the session holds samples out at all. */
  readonly isMeasured: boolean;
  /** For people. */
  readonly name: string;
  format(value: number): string;
  /** Null where nothing was measured. */
  of(evaluation: { readonly loss: number | null; readonly metrics: Readonly<Record<string, number>> }): number | null;
}

/** Figures by what people look at first, with their names. */
const SHOWN: readonly (readonly [figure: string, name: string])[] = [
  ["perplexity", "perplexity"],
  ["r2", "R²"],
  ["mae", "mean absolute error"],
  ["auc", "area under the curve"],
  ["correct", "accuracy"],
];

export function heldOutOf({ graph, data }: SessionDefinition): HeldOut {
  const figures = heldOutFigureNames(graph);
  const [metric, name] = SHOWN.find(([figure]) => figures.includes(figure)) ?? ["loss", "loss"];
  return {
    isMeasured: data.source === "dataset" && data.validation[0] < data.validation[1],
    name,
    format: (value) => formatMetric(metric, value),
    of: ({ loss, metrics }) => (metric === "loss" ? loss : (metrics[metric] ?? null)),
  };
}
