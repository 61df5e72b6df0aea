/**
 * How a step's gradient is made of what clients sent: their plain mean, or something that a few liars among them cannot
 * move far. The arithmetic is the coordinator's (coordinator/aggregate/robust).
 */

import * as v from "valibot";

const positive = v.pipe(v.number(), v.finite(), v.gtValue(0));
const atLeastOne = v.pipe(v.number(), v.safeInteger(), v.minValue(1));

const fraction = v.pipe(
  v.number(),
  v.finite(),
  v.minValue(0),
  v.check((value) => value < 1, "must be below 1"),
);

/** What every robust kind has. */
const shared = {
  /** Rows of a step that may be lies: a step has one row a client. */
  attackers: atLeastOne,
  /** Rows that are averaged before anything else, so that rows are less unlike; 1 if absent. */
  bucket: v.exactOptional(atLeastOne),
  /**
   * Part of a client's last row that its next one keeps; 0 if absent. Rows of one client are averaged over time, so that honest
   * ones become alike and a lie has less to hide behind. The optimizer then wants none of its own.
   */
  momentum: v.exactOptional(fraction),
};

/** Length up to which a row, or its way from the centre, is taken whole; if absent the median of the step's rows'. */
const radius = v.exactOptional(positive);

export const aggregationSchema = v.variant("kind", [
  v.strictObject({ kind: v.literal("mean") }),
  v.strictObject({ kind: v.literal("median"), ...shared }),
  v.strictObject({ kind: v.literal("trimmedMean"), ...shared }),
  v.strictObject({ kind: v.literal("multiKrum"), ...shared }),
  v.strictObject({ kind: v.literal("clippedMean"), ...shared, radius }),
  v.strictObject({
    kind: v.literal("centeredClipping"),
    ...shared,
    radius,
    /** Times that the centre is moved; 1 if absent. Each is a pass over all rows. */
    rounds: v.exactOptional(v.pipe(atLeastOne, v.maxValue(10))),
  }),
]);

export type Aggregation = v.InferOutput<typeof aggregationSchema>;

export type RobustAggregation = Exclude<Aggregation, { readonly kind: "mean" }>;

/** Null where gradients are averaged, and added as they come. */
export const robustOf = (aggregation: Aggregation | undefined): RobustAggregation | null =>
  aggregation === undefined || aggregation.kind === "mean" ? null : aggregation;

/** Whether the last aggregate is kept: it is where the next one begins. */
export const keepsCenter = (aggregation: Aggregation | undefined): boolean => aggregation?.kind === "centeredClipping";

/** Least rows, after bucketing, among which so many liars are a minority that this kind can bear. */
export const leastRows = ({ kind, attackers }: RobustAggregation): number =>
  2 * attackers + (kind === "multiKrum" ? 3 : 1);
