/**
 * A set of integers as sorted, disjoint, half-open runs. Costs grow with the number of runs and not with their lengths, so a
 * held-out split of millions of micro-batches is as cheap as a step of four.
 */

/** Half-open: [from, to). */
export interface Range {
  readonly from: number;
  readonly to: number;
}

export const overlaps = (a: Range, b: Range): boolean => a.from < b.to && b.from < a.to;

export class IntervalSet {
  /** Strictly rising: where a run begins (even places) and where it ends (odd places). */
  readonly #bounds: number[] = [];
  #size = 0;

  /** How many integers are in the set. */
  get size(): number {
    return this.#size;
  }

  /** The lowest run, or null if the set is empty. */
  get first(): Range | null {
    const [from, to] = this.#bounds;
    return from === undefined || to === undefined ? null : { from, to };
  }

  add(range: Range): void {
    this.#set(range, true);
  }

  remove(range: Range): void {
    this.#set(range, false);
  }

  /** Whether all of the range is in the set; it must not be empty. */
  contains({ from, to }: Range): boolean {
    const after = this.#boundsUpTo(from);
    return after % 2 === 1 && (this.#bounds[after] ?? 0) >= to;
  }

  /** Whether any of the range is in the set. */
  intersects({ from, to }: Range): boolean {
    if (from >= to) return false;
    const after = this.#boundsUpTo(from);
    return after % 2 === 1 || (this.#bounds[after] ?? Number.POSITIVE_INFINITY) < to;
  }

  /** The runs of `range` that are in the set. */
  *within({ from, to }: Range): Generator<Range> {
    for (let at = this.#boundsUpTo(from) & ~1; at < this.#bounds.length; at += 2) {
      const run = {
        from: Math.max(from, this.#bounds[at] ?? to),
        to: Math.min(to, this.#bounds[at + 1] ?? from),
      };
      if (run.from >= to) return;
      if (run.from < run.to) yield run;
    }
  }

  #set(range: Range, included: boolean): void {
    const { from, to } = range;
    if (from >= to) return;
    let covered = 0;
    for (const run of this.within(range)) covered += run.to - run.from;
    this.#size += included ? to - from - covered : -covered;
    // An odd number of bounds before a place means that it lies inside a run.
    const low = this.#boundsUpTo(from - 1);
    const high = this.#boundsUpTo(to);
    const bounds: number[] = [];
    if ((low % 2 === 1) !== included) bounds.push(from);
    if ((high % 2 === 1) !== included) bounds.push(to);
    this.#bounds.splice(low, high - low, ...bounds);
  }

  /** How many bounds are at or below a place (integers, so "below x" is "up to x − 1"). */
  #boundsUpTo(place: number): number {
    let low = 0;
    let high = this.#bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#bounds[middle] ?? 0) <= place) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
