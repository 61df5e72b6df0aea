/** Reads JSON lines, an object on each, into the table of text that CSV files become too. Only the columns asked for are read. */

import { CliError, messageOf } from "../errors.ts";
import type { Table } from "./csv.ts";
import { decodeText } from "./text.ts";

function cellOf(row: unknown, column: string, where: string): string {
  if (typeof row !== "object" || row === null || Array.isArray(row)) {
    throw new CliError(`${where}: expected an object, such as {"text":"…","label":"…"}`);
  }
  if (!Object.hasOwn(row, column)) {
    throw new CliError(
      `${where}: there is no ${JSON.stringify(column)}; there are ${Object.keys(row).slice(0, 32).join(", ")}`,
    );
  }
  const value: unknown = (row as Readonly<Record<string, unknown>>)[column];
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  throw new CliError(
    `${where}: ${column} is ${JSON.stringify(value)?.slice(0, 40)}, expected text, a number, true or false`,
  );
}

/** Throws CliError with file and line for what is no such file. */
export function parseJsonl(bytes: Uint8Array, file: string, columns: readonly string[]): Table {
  const cells: string[][] = columns.map(() => []);
  const lines: number[] = [];
  for (const [index, line] of decodeText(bytes, file).split("\n").entries()) {
    if (line.trim() === "") continue;
    const where = `${file}:${index + 1}`;
    let row: unknown;
    try {
      row = JSON.parse(line);
    } catch (error) {
      throw new CliError(`${where}: ${messageOf(error)}`, { cause: error });
    }
    for (const [at, column] of columns.entries()) cells[at].push(cellOf(row, column, where));
    lines.push(index + 1);
  }
  if (lines.length === 0) throw new CliError(`${file}: there is no line in it`);
  return { file, header: columns, cells, lines };
}
