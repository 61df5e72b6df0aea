/** The robust aggregators, as a table. All are pure, and in plain float64 in a fixed order: the same rows give the same bits. */

import type { RobustAggregation } from "../../../shared/session/aggregation.ts";
import { centeredClipping } from "./centered-clipping.ts";
import { clippedMean } from "./clipped-mean.ts";
import { median } from "./median.ts";
import { multiKrum } from "./multi-krum.ts";
import type { Combine, Input } from "./rows.ts";
import { trimmedMean } from "./trimmed-mean.ts";

export { bucketed, bucketsOf } from "./bucketing.ts";
export { type Combine, eachSlice, type Input, type Rows, SLICE } from "./rows.ts";

type Kind = RobustAggregation["kind"];

const AGGREGATORS: {
  readonly [K in Kind]: (input: Input, options: Extract<RobustAggregation, { kind: K }>) => Combine;
} = {
  median,
  trimmedMean,
  multiKrum,
  clippedMean,
  centeredClipping,
};

/** How to combine these rows, at least one. */
export function aggregatorOf<K extends Kind>(
  input: Input,
  options: Extract<RobustAggregation, { kind: K }> & { readonly kind: K },
): Combine {
  const aggregate: (input: Input, options: Extract<RobustAggregation, { kind: K }>) => Combine =
    AGGREGATORS[options.kind as K];
  return aggregate(input, options);
}
