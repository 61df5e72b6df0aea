/** Reads CSV (RFC 4180) with a header row into columns of text; what the text means is table.ts's to say. */

import { CsvError, parse } from "csv-parse/sync";
import { CliError, messageOf } from "../errors.ts";

/** A parsed file is several times its size in memory. */
export const MAX_CSV_BYTES = 256_000_000;
/** Characters of one row: where a quote is never closed, the rest of the file would be one. */
const MAX_ROW = 1_000_000;
const MAX_COLUMNS = 10_000;
const MAX_ROWS = 10_000_000;

export interface Table {
  /** What errors call it. */
  readonly file: string;
  readonly header: readonly string[];
  /** By column of the header, the cells from top to bottom. */
  readonly cells: readonly (readonly string[])[];
  /** Line of the file, from 1, on which each row ends. */
  readonly lines: readonly number[];
}

/** What a header of one column probably was meant to be cut at. */
function otherDelimiter(header: string): string {
  const delimiter = [";", "\t", ",", "|"].find((candidate) => header.includes(candidate));
  return delimiter === undefined ? "" : `: is it --delimiter ${delimiter === "\t" ? "tab" : `"${delimiter}"`}?`;
}

function checkHeader(header: readonly string[], file: string): void {
  if (header.length < 2) {
    throw new CliError(`${file}:1: a table has at least two columns, this has one${otherDelimiter(header.join())}`);
  }
  if (header.length > MAX_COLUMNS) {
    throw new CliError(`${file}:1: ${header.length} columns, the limit is ${MAX_COLUMNS}`);
  }
  const names = new Set<string>();
  for (const [index, name] of header.entries()) {
    if (name === "") throw new CliError(`${file}:1: column ${index + 1} has no name: the first row names the columns`);
    if (names.has(name)) throw new CliError(`${file}:1: two columns are called ${name}`);
    names.add(name);
  }
}

/** Throws CliError with file and line for what is not a table. */
export function parseCsv(bytes: Uint8Array, file: string, delimiter = ","): Table {
  let header: string[] = [];
  let cells: string[][] = [];
  const lines: number[] = [];
  try {
    parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), {
      bom: true,
      delimiter: delimiter === "tab" ? "\t" : delimiter,
      trim: true,
      skip_empty_lines: true,
      max_record_size: MAX_ROW,
      // Kept column by column: a list of rows would take twice the memory.
      on_record: (row: string[], { lines: line }) => {
        if (header.length === 0) {
          checkHeader(row, file);
          header = row;
          cells = row.map(() => []);
          return null;
        }
        if (lines.length === MAX_ROWS) throw new CliError(`${file}:${line}: more than ${MAX_ROWS} rows`);
        for (const [index, cell] of row.entries()) cells[index].push(cell);
        lines.push(line);
        return null;
      },
    });
  } catch (error) {
    if (error instanceof CliError) throw error;
    const where = error instanceof CsvError && typeof error.lines === "number" ? `:${error.lines}` : "";
    throw new CliError(`${file}${where}: ${messageOf(error)}`, { cause: error });
  }
  if (lines.length === 0) throw new CliError(`${file}: a header row and at least one more are needed`);
  return { file, header, cells, lines };
}
