/** A row of the record: what one piece of work came to. */

import type { Tables } from "../../shared/session/tables.ts";

export interface MetricRow {
  readonly work: "train" | "validate" | "test";
  /** Updates done before a training step; updates done when evaluating. */
  readonly step: number;
  readonly epoch: number;
  /** Null where the denominator was zero. */
  readonly loss: number | null;
  readonly metrics: Readonly<Record<string, number>>;
  /** Counts over held-out samples, flat (shared/session/tables.ts); kept of the last evaluation of each kind. */
  readonly tables: Tables;
  readonly samples: number;
  /** Samples by the engine that computed them. */
  readonly engines: Readonly<Record<string, number>>;
  readonly clamped: number;
  /** Learning rate of a training step, of parameters without a group of their own; null for evaluations. */
  readonly lr: number | null;
  /** Milliseconds since 1970. */
  readonly time: number;
}
