/** Which micro-batches of the open piece of work are free, handed out, or done. */

const FREE = 0;
const LEASED = 1;
const DONE = 2;

export interface Range {
  readonly from: number;
  readonly to: number;
}

export class Coverage {
  readonly #states: Uint8Array;
  /** No micro-batch below it is free. */
  #lowest = 0;
  #free: number;
  #open: number;

  constructor(microBatches: number) {
    this.#states = new Uint8Array(microBatches);
    this.#free = microBatches;
    this.#open = microBatches;
  }

  /** Micro-batches of the whole piece. */
  get total(): number {
    return this.#states.length;
  }

  get free(): number {
    return this.#free;
  }

  get isComplete(): boolean {
    return this.#open === 0;
  }

  /** Hands out the lowest free run of at most `count`, or null if nothing is free. */
  take(count: number): Range | null {
    if (this.#free === 0) return null;
    while (this.#states[this.#lowest] !== FREE) this.#lowest += 1;
    const from = this.#lowest;
    let to = from;
    while (to < from + count && this.#states[to] === FREE) this.#states[to++] = LEASED;
    this.#lowest = to;
    this.#free -= to - from;
    return { from, to };
  }

  /** Hands out exactly this run, if all of it is free. */
  claim({ from, to }: Range): boolean {
    if (!(from >= 0 && from < to && to <= this.total)) return false;
    for (let at = from; at < to; at++) if (this.#states[at] !== FREE) return false;
    this.#states.fill(LEASED, from, to);
    this.#free -= to - from;
    return true;
  }

  /** What of the run is not done becomes free again. */
  release({ from, to }: Range): void {
    for (let at = from; at < to; at++) {
      if (this.#states[at] !== LEASED) continue;
      this.#states[at] = FREE;
      this.#free += 1;
    }
    this.#lowest = Math.min(this.#lowest, from);
  }

  /** Marks the run done, if none of it is yet; otherwise changes nothing and says so. */
  finish({ from, to }: Range): boolean {
    for (let at = from; at < to; at++) if (this.#states[at] === DONE) return false;
    for (let at = from; at < to; at++) {
      if (this.#states[at] === FREE) this.#free -= 1;
      this.#states[at] = DONE;
    }
    this.#open -= to - from;
    return true;
  }
}
