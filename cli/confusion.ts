/** A confusion matrix in a terminal. */

import { confusionRows, type Tables } from "../shared/session/tables.ts";

/** Classes that fit beside one another on a line of 80 characters. */
const MOST = 12;

/** Lines for people; none where there is no matrix, and where it is too wide a line that says where to find it. */
export function confusionLines({ confusion }: Tables, what: string): string[] {
  const rows = confusion === undefined ? null : confusionRows(confusion);
  if (rows === null) return [];
  const head = `confusion matrix of ${what}: a row is a class, a column what it was taken for`;
  if (rows.length > MOST) return [`${head}; of ${rows.length} classes, in export --format jsonl and on the page`];
  const cells = [
    ["", ...rows.map((_, column) => String(column))],
    ...rows.map((row, index) => [String(index), ...row.map(String)]),
  ];
  const width = Math.max(3, ...cells.flat().map((cell) => cell.length));
  return [head, ...cells.map((row) => `  ${row.map((cell) => cell.padStart(width)).join(" ")}`)];
}
