/** A row of the record: what one piece of work came to. */

export interface MetricRow {
  readonly work: "train" | "validate" | "test";
  /** Updates done before a training step; updates done when evaluating. */
  readonly step: number;
  readonly epoch: number;
  /** Null where the denominator was zero. */
  readonly loss: number | null;
  readonly metrics: Readonly<Record<string, number>>;
  readonly samples: number;
  /** Samples by the engine that computed them. */
  readonly engines: Readonly<Record<string, number>>;
  readonly clamped: number;
  /** Learning rate of a training step, of parameters without a group of their own; null for evaluations. */
  readonly lr: number | null;
  /** Milliseconds since 1970. */
  readonly time: number;
}
