/**
 * The rows of an open step under robust aggregation: one a client, whatever leases it answered. A row is an integer sum like the
 * step's own, so it does not depend on the order in which a client's results came; rows are put in the order of their first
 * micro-batches, so neither does the aggregate. It does depend on who computed what, which the plain mean does not (invariant I1).
 *
 * With momentum, what is compared is not a client's gradient but the moving average of its gradients (Karimireddy et al. 2021), kept
 * here for it. Averages are volatile, as rows are: after the object slept each client's begins anew, as a newcomer's does.
 *
 * The aggregate is rounded back to the step's grid as the sum that a plain mean would have had to have (mean × Σ weight): what is
 * logged, replayed and given to the optimizer is again integers (invariant I3).
 */

import { BLOCK, blockCount, SCALAR_UNIT } from "../../shared/codec/index.ts";
import { deriveKey, permuteIndex } from "../../shared/random/index.ts";
import type { RobustAggregation } from "../../shared/session/aggregation.ts";
import { aggregatorOf, bucketed, bucketsOf, eachSlice, type Rows, SLICE } from "./robust/index.ts";

/** The largest integer that the log and the kernels hold. */
const LARGEST = 2 ** 31 - 1;
/** Adding and subtracting this rounds a double of less than 2⁵¹ to an integer, ties to even. */
const ROUND = 1.5 * 2 ** 52;

/** One client's result for one lease. */
export interface RowPart {
  readonly client: string;
  /** First micro-batch of the lease. */
  readonly from: number;
  /** In units of 2⁻²⁴. */
  readonly weight: bigint;
  /** Largest exponent by block. */
  readonly maxima: Uint8Array;
}

interface Row {
  /** First micro-batch of all that it answered: no two rows have the same. */
  from: number;
  weight: bigint;
  readonly maxima: Uint8Array;
  /** Null while there was no gradient, as in a calibration pass. */
  sums: Int32Array | null;
}

/** A client's rows over time. */
interface Average {
  /** Σ (1 − β) βⁱ of mean gradients [parameters]. */
  readonly values: Float32Array;
  steps: number;
  /** Step of the newest. */
  last: number;
}

/** Averages are float32, and what is larger than this is a lie. */
const LARGEST_MEAN = 2 ** 100;

export interface StepRowsOptions {
  readonly aggregation: RobustAggregation;
  readonly parameters: number;
  /** Most rows of a step, and most clients whose averages are kept. */
  readonly most: number;
  /** The session's: of the order in which rows of equal weight go into buckets. */
  readonly seed: number;
}

/** Bytes of a step's rows: in sums, averages and maxima, and the slices that are read at a time. */
export function rowsBytes({ momentum }: RobustAggregation, parameters: number, rows: number): number {
  const row = parameters * valueBytes(momentum) + blockCount(parameters);
  return rows * (row + SLICE * Float64Array.BYTES_PER_ELEMENT);
}

/** Bytes of one parameter in one row. */
export const valueBytes = (momentum = 0): number => (momentum === 0 ? 4 : 8);

export class StepRows {
  readonly #options: StepRowsOptions;
  readonly #rows = new Map<string, Row>();
  /** Of steps before: memory that the next row takes. */
  readonly #spare: Int32Array[] = [];
  readonly #averages = new Map<string, Average>();

  constructor(options: StepRowsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#rows.size;
  }

  /** Adds a result to its client's row. `sums` is read at once; absent where the work brings exponents only. */
  add({ client, from, weight, maxima }: RowPart, sums: Int32Array | null): void {
    let row = this.#rows.get(client);
    if (row === undefined) {
      row = { from, weight: 0n, maxima: new Uint8Array(maxima.length), sums: null };
      this.#rows.set(client, row);
    }
    row.from = Math.min(row.from, from);
    row.weight += weight;
    for (const [block, exponent] of maxima.entries()) {
      if (exponent > row.maxima[block]) row.maxima[block] = exponent;
    }
    if (sums === null) return;
    if (row.sums === null) {
      row.sums = this.#spare.pop() ?? new Int32Array(this.#options.parameters);
      row.sums.set(sums);
    } else {
      const held = row.sums;
      // Only a liar's own row can wrap around.
      for (let at = 0; at < held.length; at++) held[at] += sums[at];
    }
  }

  /**
   * By block the largest exponent that is not one of the `attackers` largest rows', into `maxima`: so many liars can neither coarsen
   * the next grid nor say that a gradient is not finite.
   */
  maxima(maxima: Uint8Array): void {
    const rows = [...this.#rows.values()];
    const cut = Math.min(this.#options.aggregation.attackers, Math.floor((rows.length - 1) / 2));
    const column = new Uint8Array(rows.length);
    for (let block = 0; block < maxima.length; block++) {
      for (const [index, row] of rows.entries()) column[index] = row.maxima[block];
      column.sort();
      maxima[block] = rows.length === 0 ? 0 : column[column.length - 1 - cut];
    }
  }

  /**
   * The aggregate into `sums` [parameters], on the grid on which a block's integers times its `units` are gradient sums.
   * @param units [blocks]; powers of two
   * @param weight Σ of the whole step, above 0
   * @param center the last step's aggregate [parameters], where one is kept
   */
  aggregate(
    step: number,
    { units, weight, center }: { units: Float64Array; weight: bigint; center: Float32Array | null },
    sums: Int32Array,
  ): void {
    const { aggregation } = this.#options;
    const input = { rows: this.#bucketed(step, this.#read(step, units)), center };
    const combine = aggregatorOf(input, aggregation);
    const total = Number(weight) * SCALAR_UNIT;
    const out = new Float64Array(SLICE);
    eachSlice(input, (slice, from) => {
      const values = out.subarray(0, slice.center.length);
      combine(slice, values);
      for (let at = 0; at < values.length; at++) {
        const exact = (values[at] * total) / units[Math.floor((from + at) / BLOCK)];
        sums[from + at] = Math.min(Math.max(exact, -LARGEST), LARGEST) + ROUND - ROUND;
      }
    });
  }

  /** Forgets what rows were in steps before, for they were taken back. */
  forget(): void {
    this.#averages.clear();
  }

  reset(): void {
    for (const { sums } of this.#rows.values()) if (sums !== null) this.#spare.push(sums);
    this.#rows.clear();
  }

  /** The rows' mean gradients. Who had nothing to weigh, such as padding only, has none. */
  #read(step: number, units: Float64Array): Rows {
    const entries = [...this.#rows].filter(([, { weight }]) => weight > 0n).sort(([, a], [, b]) => a.from - b.from);
    const rows = entries.map(([, row]) => row);
    const weights = rows.map(({ weight }) => Number(weight) * SCALAR_UNIT);
    const gradients: Rows = {
      count: rows.length,
      length: this.#options.parameters,
      weights,
      read: (row, from, out) => {
        const { sums } = rows[row];
        if (sums === null) throw new Error("a row of a training step has no sums");
        for (let start = 0; start < out.length; start += BLOCK) {
          const unit = units[(from + start) / BLOCK] / weights[row];
          const end = Math.min(start + BLOCK, out.length);
          for (let at = start; at < end; at++) out[at] = sums[from + at] * unit;
        }
      },
    };
    const { momentum = 0 } = this.#options.aggregation;
    if (momentum === 0) return gradients;
    // Whoever takes part in this step is not the oldest.
    for (const [client] of entries) {
      const held = this.#averages.get(client);
      if (held !== undefined && this.#averages.delete(client)) this.#averages.set(client, held);
    }
    const averages = entries.map(([client]) => this.#averageOf(client, step, momentum));
    return averaged(gradients, averages, momentum);
  }

  /** The client's average, with this step counted. What is too old to say much, or has no room, is forgotten: the oldest first. */
  #averageOf(client: string, step: number, momentum: number): Average {
    let average = this.#averages.get(client);
    if (average !== undefined && (step - average.last) * (1 - momentum) > 1) average = undefined;
    this.#averages.delete(client);
    for (const [oldest] of this.#averages) {
      if (this.#averages.size < this.#options.most) break;
      this.#averages.delete(oldest);
    }
    average ??= { values: new Float32Array(this.#options.parameters), steps: 0, last: step };
    average.steps += 1;
    average.last = step;
    this.#averages.set(client, average);
    return average;
  }

  #bucketed(step: number, rows: Rows): Rows {
    const size = this.#options.aggregation.bucket ?? 1;
    if (size === 1) return rows;
    const key = deriveKey(this.#options.seed, "permutation", step, 1);
    const order = Array.from({ length: rows.count }, (_, position) => permuteIndex(key, rows.count, position));
    return bucketed(rows, bucketsOf(rows.weights, order, size));
  }
}

/** Adds rows to their clients' averages, and answers those, corrected as if each had gone on for ever (Kingma and Ba 2015, section 3). */
function averaged(gradients: Rows, averages: readonly Average[], momentum: number): Rows {
  eachSlice({ rows: gradients, center: null }, ({ rows }, from) => {
    for (const [row, values] of rows.entries()) {
      const held = averages[row].values;
      for (let at = 0; at < values.length; at++) {
        const value = Math.min(Math.max(values[at], -LARGEST_MEAN), LARGEST_MEAN);
        held[from + at] = momentum * held[from + at] + (1 - momentum) * value;
      }
    }
  });
  const corrections = averages.map(({ steps }) => 1 / (1 - momentum ** steps));
  return {
    ...gradients,
    read: (row, from, out) => {
      const { values } = averages[row];
      for (let at = 0; at < out.length; at++) out[at] = values[from + at] * corrections[row];
    },
  };
}
