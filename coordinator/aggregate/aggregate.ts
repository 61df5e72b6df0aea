/**
 * What the accepted contributions of one piece of work come to. Sums are integers and maxima are order-free, so the
 * result depends on which micro-batches are in and not on who brought them or when. The gradient's own integers are added
 * by the parameter shard; this holds the rest. Other ways to aggregate will stand behind the same interface.
 */

import { SCALAR_UNIT, scalarValue } from "../../shared/codec/index.ts";
import { figuresOf } from "../../shared/session/figures.ts";

/** One client's result for one lease, its sizes checked. */
export interface Contribution {
  readonly loss: bigint;
  readonly weight: bigint;
  /** In the order of the sorted names; of an evaluation the elements of its tables follow. */
  readonly metrics: readonly bigint[];
  /** Largest exponent by block; null for evaluations. */
  readonly maxima: Uint8Array | null;
  /** Of the gradient, by row and column (shared/codec/squares.ts); null or absent where there are none. */
  readonly squares?: Float32Array | null;
  readonly clamped: number;
  readonly microBatches: number;
  /** Real samples, padding not counted. */
  readonly samples: number;
}

export class StepAggregate {
  readonly maxima: Uint8Array<ArrayBuffer>;
  readonly metrics: bigint[];
  /** Null until something with squares was added. */
  squares: { readonly sums: Float64Array; weights: number } | null = null;
  loss = 0n;
  /** Σ of the loss's denominators. */
  weight = 0n;
  clamped = 0;
  microBatches = 0;
  samples = 0;

  constructor(sizes: { readonly blocks: number; readonly metrics: number }) {
    this.maxima = new Uint8Array(sizes.blocks);
    this.metrics = new Array<bigint>(sizes.metrics).fill(0n);
  }

  add(contribution: Contribution): void {
    this.loss += contribution.loss;
    this.weight += contribution.weight;
    for (const [index, value] of contribution.metrics.entries()) this.metrics[index] += value;
    this.clamped += contribution.clamped;
    this.microBatches += contribution.microBatches;
    this.samples += contribution.samples;
    this.#addSquares(contribution);
    const { maxima } = contribution;
    if (maxima === null) return;
    for (let block = 0; block < maxima.length; block++) {
      if (maxima[block] > this.maxima[block]) this.maxima[block] = maxima[block];
    }
  }

  #addSquares({ squares, weight }: Contribution): void {
    if (squares === undefined || squares === null) return;
    this.squares ??= { sums: new Float64Array(squares.length), weights: 0 };
    for (const [at, square] of squares.entries()) this.squares.sums[at] += square;
    this.squares.weights += scalarValue(weight) ** 2;
  }

  /** The elements of tables of these sizes, which come after `from` sums. */
  tables(
    sizes: readonly { readonly name: string; readonly elements: number }[],
    from: number,
  ): Record<string, number[]> {
    let start = from;
    const parts = sizes.map(({ name, elements }): [string, number[]] => {
      const values = this.metrics.slice(start, start + elements).map(scalarValue);
      start += elements;
      return [name, values];
    });
    return Object.fromEntries(parts);
  }

  /** Loss per unit of weight, and the figures of the metrics' sums by their sorted names; null where the denominator is zero. */
  means(names: readonly string[] = []): { loss: number; metrics: Record<string, number> } | null {
    if (this.weight <= 0n) return null;
    const weight = scalarValue(this.weight);
    const sums = Object.fromEntries(names.map((name, index) => [name, scalarValue(this.metrics[index])]));
    return { loss: scalarValue(this.loss) / weight, metrics: figuresOf(sums, weight) };
  }

  reset(): void {
    this.maxima.fill(0);
    this.squares = null;
    this.metrics.fill(0n);
    this.loss = 0n;
    this.weight = 0n;
    this.clamped = 0;
    this.microBatches = 0;
    this.samples = 0;
  }
}

/** Largest Σ weight that a lease of so many samples can honestly have, where a sample's denominator is at most `perSample`. */
export const weightBound = (samples: number, perSample: number): bigint =>
  BigInt(Math.ceil((samples * perSample) / SCALAR_UNIT));
