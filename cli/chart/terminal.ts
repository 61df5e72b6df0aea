/**
 * One curve as lines of text, in Braille characters: each is a grid of 2 × 4 dots. Without colours, so that it is the same on
 * a terminal, in a file and where NO_COLOR is set.
 */

import { type Axis, createAxis, type Point, type Range, segments } from "./axis.ts";

export interface TextMarker {
  readonly x: number;
  readonly label: string;
}

export interface TextChartOptions {
  readonly points: readonly Point[];
  readonly yLabel: string;
  readonly xLabel: string;
  readonly logX?: boolean;
  readonly yRange?: Range;
  /** Named below the axis, a line each. */
  readonly markers?: readonly TextMarker[];
  /** Characters of a line, and lines of the curve alone. */
  readonly columns: number;
  readonly rows: number;
}

/** Bits of the dots of a Braille character, by row and column. */
const DOTS = [
  [0x01, 0x08],
  [0x02, 0x10],
  [0x04, 0x20],
  [0x40, 0x80],
];
const BRAILLE = 0x2800;
/** Lines, and characters, between ticks. */
const [ROW_SPACE, COLUMN_SPACE] = [3, 11];

/** Dots of one curve in an area of characters. */
class Canvas {
  readonly #cells: Uint8Array;
  readonly #columns: number;
  readonly #rows: number;

  constructor(columns: number, rows: number) {
    this.#columns = columns;
    this.#rows = rows;
    this.#cells = new Uint8Array(columns * rows);
  }

  /** A straight line between two places of the unit square; what is outside of it is not drawn. */
  line([fromX, fromY]: Point, [toX, toY]: Point): void {
    const [width, height] = [this.#columns * 2 - 1, this.#rows * 4 - 1];
    const length = Math.max(Math.abs(toX - fromX) * width, Math.abs(toY - fromY) * height);
    // However far outside a point lies, no more dots are tried than could be seen.
    const steps = Math.max(1, Math.min(Math.ceil(length), 64 * (width + height)));
    for (let step = 0; step <= steps; step++) {
      const portion = step / steps;
      const x = fromX + (toX - fromX) * portion;
      const y = fromY + (toY - fromY) * portion;
      if (x < 0 || x > 1 || y < 0 || y > 1) continue;
      this.#set(Math.round(x * width), Math.round((1 - y) * height));
    }
  }

  lines(): string[] {
    return Array.from({ length: this.#rows }, (_, row) =>
      Array.from(this.#cells.subarray(row * this.#columns, (row + 1) * this.#columns), (dots) =>
        dots === 0 ? " " : String.fromCharCode(BRAILLE + dots),
      ).join(""),
    );
  }

  #set(x: number, y: number): void {
    this.#cells[(y >> 2) * this.#columns + (x >> 1)] |= DOTS[y & 3][x & 1];
  }
}

/** Texts at their columns, those left out that would touch the one before. */
function place(texts: readonly (readonly [column: number, text: string])[], width: number): string {
  let line = "";
  for (const [column, text] of texts) {
    const start = Math.max(0, Math.min(width - text.length, column - (text.length >> 1)));
    if (line !== "" && start <= line.length) continue;
    line = line.padEnd(start) + text;
  }
  return line;
}

/** Lines for a terminal; a marker's arrow is at its value, its name beside it. */
export function drawChart(options: TextChartOptions): string[] {
  const { points, xLabel, yLabel, logX = false, yRange, markers = [], columns, rows } = options;
  const y = createAxis(
    points.map(([, value]) => value),
    { log: false, range: yRange, ticks: rows / ROW_SPACE },
  );
  const gutter = Math.max(...y.ticks.map(({ label }) => label.length)) + 2;
  const width = Math.max(COLUMN_SPACE, columns - gutter - 2);
  const x = createAxis(
    points.map(([value]) => value),
    { log: logX, ticks: width / COLUMN_SPACE },
  );
  const canvas = new Canvas(width, rows);
  for (const run of segments(points, x, y)) {
    for (const [at, point] of run.entries()) canvas.line(run[Math.max(0, at - 1)], point);
  }
  const labels = new Map(y.ticks.map(({ value, label }) => [Math.round((1 - y.place(value)) * (rows - 1)), label]));
  const indent = " ".repeat(gutter);
  const columnOf = (axis: Axis, value: number): number => Math.round(axis.place(value) * (width - 1));
  const ticks = new Set(x.ticks.map(({ value }) => columnOf(x, value)));
  return [
    `${indent}${yLabel}`,
    ...canvas.lines().map((line, row) => {
      const label = labels.get(row);
      return `${(label ?? "").padStart(gutter - 1)} ${label === undefined ? "│" : "┤"}${line}`;
    }),
    `${indent}└${Array.from({ length: width }, (_, column) => (ticks.has(column) ? "┬" : "─")).join("")}`,
    `${indent} ${place(
      x.ticks.map(({ value, label }) => [columnOf(x, value), label]),
      width,
    )}`,
    ...markers.map(({ x: value, label }) => {
      const column = columnOf(x, value);
      const after = `${" ".repeat(column)}▲ ${label}`;
      return `${indent} ${after.length <= width ? after : `${" ".repeat(Math.max(0, column - label.length - 1))}${label} ▲`}`;
    }),
    `${indent} ${place([[width >> 1, xLabel]], width)}`,
  ].map((line) => line.trimEnd());
}
