/** Which micro-batches of the open piece of work are free and which are done; the others are handed out. */

import { IntervalSet, type Range } from "./intervals.ts";

export class Coverage {
  /** Micro-batches of the whole piece. */
  readonly total: number;
  readonly #free = new IntervalSet();
  readonly #done = new IntervalSet();

  constructor(microBatches: number) {
    this.total = microBatches;
    this.#free.add({ from: 0, to: microBatches });
  }

  get free(): number {
    return this.#free.size;
  }

  get done(): number {
    return this.#done.size;
  }

  get isComplete(): boolean {
    return this.done === this.total;
  }

  /** Hands out the beginning of the lowest free run, at most `count`, or null if nothing is free. */
  take(count: number): Range | null {
    const run = this.#free.first;
    if (run === null) return null;
    const range = { from: run.from, to: Math.min(run.to, run.from + count) };
    this.#free.remove(range);
    return range;
  }

  /** Hands out exactly this run, if all of it is free. */
  claim(range: Range): boolean {
    if (range.from >= range.to || !this.#free.contains(range)) return false;
    this.#free.remove(range);
    return true;
  }

  /** What of a handed-out run is not done becomes free again. */
  release(range: Range): void {
    this.#free.add(range);
    for (const run of this.#done.within(range)) this.#free.remove(run);
  }

  /** Whether any of a run is done. */
  hasDone(range: Range): boolean {
    return this.#done.intersects(range);
  }

  /** Marks the run done, if none of it is yet; otherwise changes nothing and says so. */
  finish(range: Range): boolean {
    if (this.#done.intersects(range)) return false;
    this.#free.remove(range);
    this.#done.add(range);
    return true;
  }
}
