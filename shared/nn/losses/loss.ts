/** What a loss is, apart from any one of them. */

import type { Dimension, DType, ValueId } from "../../graph/ir.ts";
import type { GraphWriter } from "../module.ts";

/** What a loss adds to the graph: scalars, each a sum over the micro-batch. */
export interface LossValues {
  readonly loss: ValueId;
  readonly weight: ValueId;
  /** Sums by name; what is shown follows from them (shared/session/figures.ts). */
  readonly metrics: Readonly<Record<string, ValueId>>;
  /** Tables by name, each a sum over the micro-batch; computed on held-out samples only. */
  readonly tables?: Readonly<Record<string, ValueId>>;
  /** Most that one sample can add to `weight`, where that is more than the number of its targets. */
  readonly largestWeight?: number;
}

/** What training makes small. The functions of `loss` return the ones there are. */
export interface Loss {
  readonly kind: string;
  /** Type and shape of the targets that go with predictions of `shape` ([N, ...] with N bound). */
  target(shape: readonly number[]): { readonly dtype: DType; readonly shape: readonly Dimension[] };
  /** Adds the nodes that compare predictions with targets, weighted by sample. */
  build(to: GraphWriter, values: LossOperands): LossValues;
}

/** Predictions and targets as the loss's `target` says; `weight` [N] is the samples'. */
export interface LossOperands {
  readonly prediction: ValueId;
  readonly target: ValueId;
  readonly weight: ValueId;
}
