/**
 * From a table of text to two columns of numbers: one column of features, and one of what is to be predicted. Numbers are
 * normalised to mean 0 and deviation 1 by the training rows alone, because held-out rows must stay unseen; categories
 * become one feature each that is 1 where the row is of it.
 */

import type { ColumnSpec } from "../../shared/session/definition.ts";
import { CliError } from "../errors.ts";
import { MAX_CLASSES } from "./classes.ts";
import { MAX_CSV_BYTES, parseCsv, type Table } from "./csv.ts";
import { readFile } from "./file.ts";
import { classEnding, type Imported } from "./imported.ts";
import { arrange, type Fractions, type Split, splitSamples } from "./split.ts";

export const COLUMN_TYPES = ["number", "integer", "category", "skip"] as const;
export type ColumnType = (typeof COLUMN_TYPES)[number];

/** A CSV file and how to read it. */
export interface CsvSource {
  readonly file: string;
  /** The column to predict. */
  readonly target: string;
  /** Types that the cells do not tell, by column. */
  readonly columns?: Readonly<Record<string, ColumnType>> | undefined;
  readonly split?: Fractions | undefined;
  /** Of the shuffle before the split. */
  readonly seed?: number | undefined;
  readonly normalise?: boolean | undefined;
  /** One character, or `tab`. */
  readonly delimiter?: string | undefined;
}

/** Features of one category column: more of them are hardly categories. */
const MAX_CATEGORIES = 256;
const MAX_FEATURES = 10_000;
/** Whole numbers with no more distinct values than that are classes, where they are the target. */
const FEW = 20;
/** Where so many cells are numbers, the others are taken for slips rather than for categories. */
const MOSTLY = 0.9;
/** Categories named one by one in notes. */
const SHOWN = 32;

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const INTEGER = /^[+-]?\d+$/;

/** One column of a table with all that errors need. */
export class Cells {
  readonly table: Table;
  readonly name: string;
  readonly texts: readonly string[];

  constructor(table: Table, index: number) {
    this.table = table;
    this.name = table.header[index];
    this.texts = table.cells[index];
  }

  fail(row: number, complaint: string): CliError {
    return new CliError(`${this.table.file}:${this.table.lines[row]}: column ${this.name}: ${complaint}`);
  }

  requireFilled(): void {
    const row = this.texts.indexOf("");
    if (row >= 0) throw this.fail(row, "the cell is empty; fill it in, or leave the row out");
  }

  /** Throws CliError where cells look like numbers but for a few. */
  infer(): "number" | "integer" | "category" {
    if (this.texts.every((text) => INTEGER.test(text))) return "integer";
    const odd = this.texts.findIndex((text) => !NUMBER.test(text));
    if (odd < 0) return "number";
    const numbers = this.texts.reduce((count, text) => count + (NUMBER.test(text) ? 1 : 0), 0);
    if (numbers < this.texts.length * MOSTLY) return "category";
    throw this.fail(
      odd,
      `${quote(this.texts[odd])} is no number, and ${numbers} of ${this.texts.length} cells are; mend it, or say --column ${this.name}=category`,
    );
  }

  /** Values that float32 holds. Throws CliError at the first cell that is none. */
  numbers(type: "number" | "integer"): Float64Array {
    return Float64Array.from(this.texts, (text, row) => {
      if (!(type === "integer" ? INTEGER : NUMBER).test(text)) {
        throw this.fail(row, `${quote(text)} is ${type === "integer" ? "no whole number" : "no number"}`);
      }
      const value = Number(text);
      if (!Number.isFinite(Math.fround(value))) throw this.fail(row, `${text} is more than a float32 can hold`);
      return value;
    });
  }

  /** Distinct values in order: numbers by size, text by its characters. */
  categories(most: number): string[] {
    const distinct = new Set<string>();
    for (const [row, text] of this.texts.entries()) {
      distinct.add(text);
      if (distinct.size > most) {
        throw this.fail(row, `more than ${most} different values: is it a number, or to be skipped? See --column`);
      }
    }
    const isNumeric = [...distinct].every((text) => NUMBER.test(text));
    return [...distinct].sort((a, b) => (isNumeric ? Number(a) - Number(b) : a < b ? -1 : 1));
  }
}

const quote = (text: string): string => JSON.stringify(text.length > 40 ? `${text.slice(0, 39)}…` : text);

/** Names of a list, not all of a long one. */
const listing = (names: readonly string[]): string =>
  names.length <= SHOWN ? names.join(", ") : `${names.slice(0, SHOWN).join(", ")}, … (${names.length})`;

/** One feature: its name and its value by row of the file. */
interface Feature {
  readonly name: string;
  readonly values: Float64Array;
  readonly isNumber: boolean;
}

function encodeFeature(cells: Cells, asked: ColumnType | undefined, notes: string[]): Feature[] {
  const { name } = cells;
  if (asked === "skip") {
    notes.push(`${name}: skipped`);
    return [];
  }
  cells.requireFilled();
  const type = asked ?? cells.infer();
  if (type !== "category") {
    notes.push(`${name}: ${type}`);
    return [{ name, values: cells.numbers(type), isNumber: true }];
  }
  const categories = cells.categories(MAX_CATEGORIES);
  notes.push(`${name}: category, one feature each for ${listing(categories)}`);
  return categories.map((category) => ({
    name: `${name}=${category}`,
    values: Float64Array.from(cells.texts, (text) => (text === category ? 1 : 0)),
    isNumber: false,
  }));
}

interface Target {
  readonly spec: Omit<ColumnSpec, "name">;
  readonly values: Uint8Array | Int32Array | Float32Array;
  readonly ending: string;
}

function targetType(cells: Cells): "number" | "category" {
  const type = cells.infer();
  if (type !== "integer") return type;
  return new Set(cells.texts.map(Number)).size <= FEW ? "category" : "number";
}

/** Classes are numbered in order from 0; a number stays as it is. */
export function encodeTarget(cells: Cells, asked: ColumnType | undefined, notes: string[]): Target {
  const { name } = cells;
  cells.requireFilled();
  const type = asked ?? targetType(cells);
  if (type === "skip") throw new CliError(`column ${name} is the target: it cannot be skipped`);
  if (type === "number") {
    notes.push(`${name}: the target, a number, pushed as it is`);
    return {
      spec: { dtype: "float32", shape: [1] },
      values: Float32Array.from(cells.numbers("number")),
      ending: "the model ends in 1 output, with loss: loss.mse()",
    };
  }
  if (type === "integer") cells.numbers("integer");
  const classes = cells.categories(MAX_CLASSES);
  const index = new Map(classes.map((value, at) => [value, at]));
  const values = cells.texts.map((text) => index.get(text) ?? 0);
  notes.push(
    `${name}: the target, ${classes.length} classes: ${listing(classes.map((value, at) => `${at} = ${value}`))}`,
  );
  if (classes.length === 1) throw cells.fail(0, `all rows are ${quote(classes[0])}: there is nothing to tell apart`);
  return {
    spec: { dtype: classes.length <= 256 ? "uint8" : "int32", shape: [] },
    values: classes.length <= 256 ? Uint8Array.from(values) : Int32Array.from(values),
    ending: classEnding(classes.length),
  };
}

/** Mean and deviation (of the whole, not of a sample) over the training rows. */
function measure(values: Float64Array, { order, trainSamples }: Split): { mean: number; deviation: number } {
  const rows = order.subarray(0, trainSamples);
  const mean = rows.reduce((sum, row) => sum + values[row], 0) / trainSamples;
  const variance = rows.reduce((sum, row) => sum + (values[row] - mean) ** 2, 0) / trainSamples;
  return { mean, deviation: Math.sqrt(variance) };
}

/** Features side by side in the split's order: [samples, features]. */
function layOut(features: readonly Feature[], split: Split, normalise: boolean, notes: string[]): Float32Array {
  const rows = new Float32Array(split.order.length * features.length);
  for (const [index, { name, values, isNumber }] of features.entries()) {
    const { mean, deviation } = normalise && isNumber ? measure(values, split) : { mean: 0, deviation: 1 };
    // A feature that never changes has no deviation to divide by.
    const scale = deviation > 0 ? deviation : 1;
    for (const [place, row] of split.order.entries()) {
      rows[place * features.length + index] = (values[row] - mean) / scale;
    }
    if (normalise && isNumber)
      notes.push(`normalised ${name}: (value − ${mean.toPrecision(6)}) / ${scale.toPrecision(6)}`);
  }
  return rows;
}

/** Names of manifests are printable ASCII without spaces; those of the other columns are taken. */
export function columnName(target: string, taken: readonly string[]): string {
  const name = target.replace(/[^\x21-\x7e]+/g, "_").slice(0, 128);
  return taken.includes(name) ? "target" : name;
}

export function checkNames(table: Table, { target, columns = {} }: Pick<CsvSource, "target" | "columns">): void {
  for (const name of [target, ...Object.keys(columns)]) {
    if (table.header.includes(name)) continue;
    throw new CliError(`${table.file}:1: there is no column ${quote(name)}; there are ${listing(table.header)}`);
  }
}

/** Columns `features` [n] (float32) and the target's own. Throws CliError with file and line. */
export function importTable(table: Table, source: CsvSource): Imported {
  checkNames(table, source);
  const { target, normalise = true } = source;
  // A column may be called `constructor`.
  const types = new Map(Object.entries(source.columns ?? {}));
  const split = splitSamples(table.lines.length, source.split, source.seed);
  const notes: string[] = [];
  const all = table.header.map((_, index) => new Cells(table, index));
  const features = all
    .filter(({ name }) => name !== target)
    .flatMap((cells) => encodeFeature(cells, types.get(cells.name), notes));
  if (features.length === 0) throw new CliError(`${table.file}: no column is left to predict ${target} from`);
  if (features.length > MAX_FEATURES) {
    throw new CliError(`${table.file}: ${features.length} features, the limit is ${MAX_FEATURES}`);
  }
  const predicted = all
    .filter(({ name }) => name === target)
    .map((cells) => encodeTarget(cells, types.get(target), notes))[0];
  const rows = layOut(features, split, normalise, notes);
  const name = columnName(target, ["features"]);
  const { values } = predicted;
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return {
    content: {
      columns: [
        { name: "features", dtype: "float32", shape: [features.length] },
        { name, ...predicted.spec },
      ],
      rows: [new Uint8Array(rows.buffer), arrange(bytes, values.BYTES_PER_ELEMENT, split.order)],
      samples: split.order.length,
      splits: split.splits,
    },
    notes,
    x: '"features"',
    y: JSON.stringify(name),
    input: [features.length],
    ending: predicted.ending,
  };
}

export function importCsv(source: CsvSource): Imported {
  return importTable(parseCsv(readFile(source.file, MAX_CSV_BYTES), source.file, source.delimiter), source);
}
