/**
 * What robust aggregators read: rows of the same length, one a client, read a slice at a time, so that beside what the rows are
 * made of no more than rows × SLICE values are ever in float64.
 */

/** Values of one slice: whole blocks of the grid. */
export const SLICE = 512;

export interface Rows {
  readonly count: number;
  readonly length: number;
  /** How much went into each row: Σ weight of its samples. Above 0. */
  readonly weights: readonly number[];
  /** Writes values `from` to `from + out.length` of a row; `from` is a multiple of SLICE and `out` no longer than one. */
  readonly read: (row: number, from: number, out: Float64Array) => void;
}

/** The same stretch of all rows and of the centre; the arrays are used again for the next. */
export interface Slice {
  readonly rows: readonly Float64Array[];
  /** What aggregation began from: the last step's result, or zeros. */
  readonly center: Float64Array;
}

/** What a slice's rows come to. */
export type Combine = (slice: Slice, out: Float64Array) => void;

/** Looks at the rows as often as it needs, and answers how to combine them. */
export type Aggregator<Options> = (input: Input, options: Options) => Combine;

export interface Input {
  readonly rows: Rows;
  /** Float32 of the rows' length, or null for zeros. */
  readonly center: Float32Array | null;
}

/** Calls `visit` with every slice in order. */
export function eachSlice({ rows, center }: Input, visit: (slice: Slice, from: number) => void): void {
  const whole = Array.from({ length: rows.count }, () => new Float64Array(SLICE));
  const wholeCenter = new Float64Array(SLICE);
  for (let from = 0; from < rows.length; from += SLICE) {
    const length = Math.min(SLICE, rows.length - from);
    const slices = whole.map((values) => values.subarray(0, length));
    for (const [row, slice] of slices.entries()) rows.read(row, from, slice);
    const centerSlice = wholeCenter.subarray(0, length);
    if (center !== null) centerSlice.set(center.subarray(from, from + length));
    visit({ rows: slices, center: centerSlice }, from);
  }
}

/** ‖row − v‖ of every row, where v = `center` · centre + Σ `factors` · rows. */
export function distancesFrom(input: Input, center: number, factors: readonly number[]): number[] {
  const squares = new Array<number>(input.rows.count).fill(0);
  const combine = weighted(center, factors);
  const point = new Float64Array(SLICE);
  eachSlice(input, (slice) => {
    const { length } = slice.center;
    combine(slice, point.subarray(0, length));
    for (const [row, values] of slice.rows.entries()) {
      let sum = 0;
      for (let at = 0; at < length; at++) {
        const difference = values[at] - point[at];
        sum += difference * difference;
      }
      squares[row] += sum;
    }
  });
  return squares.map(Math.sqrt);
}

/** `center` · centre + Σ `factors` · rows; rows without a factor have none. */
export const weighted =
  (center: number, factors: readonly number[]): Combine =>
  (slice, out) => {
    out.fill(0);
    if (center !== 0) for (let at = 0; at < out.length; at++) out[at] = center * slice.center[at];
    for (const [row, values] of slice.rows.entries()) {
      const factor = factors[row] ?? 0;
      if (factor === 0) continue;
      for (let at = 0; at < out.length; at++) out[at] += factor * values[at];
    }
  };

/** Of an even count the mean of the middle two. */
export function medianOf(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
