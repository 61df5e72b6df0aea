/** Pieces that several schemas of sessions and data sets share. */

import * as v from "valibot";

/** A non-negative integer that float64 holds exactly. */
export const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

export const finite = v.pipe(v.number(), v.finite());

/** Printable ASCII without spaces: these names become keys, file names and parts of addresses. */
export const datasetName = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "a name is 1 to 64 letters, digits, dots, dashes or underscores"),
);

/** Half-open, possibly empty. */
export const range = v.pipe(
  v.strictTuple([count, count]),
  v.check(([from, to]) => from <= to, "a range is [from, to) with from ≤ to"),
);

const columnName = v.pipe(
  v.string(),
  v.regex(/^[\x21-\x7e]{1,128}$/, "a column's name is 1 to 128 printable ASCII characters"),
);

export const column = v.strictObject({
  name: columnName,
  dtype: v.picklist(["uint8", "int32", "float32"]),
  shape: v.pipe(v.array(v.pipe(count, v.minValue(1))), v.maxLength(7)),
});

export const binding = v.strictObject({
  column: columnName,
  scale: finite,
  offset: finite,
  shift: v.exactOptional(count),
});

/** Of rows: how many are a sample, and how far apart samples begin. */
export const rowWindow = v.strictObject({
  length: v.pipe(count, v.minValue(1)),
  stride: v.pipe(count, v.minValue(1)),
});

/** `where: what`, or `subject: what` if the whole value is wrong. */
export function describeIssue(issue: v.BaseIssue<unknown>, subject: string): string {
  const path = v.getDotPath(issue);
  return `${path === null ? subject : path}: ${issue.message}`;
}
