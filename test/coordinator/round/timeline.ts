/** Virtual time and seeded chance for simulations: the same seed gives the same run, event for event. */

/** Seeded chance (mulberry32); only its determinism matters, not its quality. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    word = (word + Math.imul(word ^ (word >>> 7), 61 | word)) ^ word;
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  }

  happens(probability: number): boolean {
    return this.next() < probability;
  }

  /** Both ends included. */
  integer(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  /** Log-uniform: 1 to 10 is as likely as 10 to 100. */
  magnitude(least: number, most: number): number {
    return least * (most / least) ** this.next();
  }

  pick<Value>(values: readonly Value[]): Value {
    return values[this.integer(0, values.length - 1)]!;
  }
}

interface Entry {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

const isBefore = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** What happens when; entries of one instant run in the order in which they were added. A binary heap. */
export class Timeline {
  readonly #heap: Entry[] = [];
  #order = 0;
  #now = 0;

  /** Milliseconds. */
  get now(): number {
    return this.#now;
  }

  at(time: number, run: () => void): void {
    const entry = { at: Math.max(time, this.#now), order: this.#order++, run };
    let place = this.#heap.push(entry) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!isBefore(entry, this.#heap[parent]!)) break;
      this.#heap[place] = this.#heap[parent]!;
      place = parent;
    }
    this.#heap[place] = entry;
  }

  after(delay: number, run: () => void): void {
    this.at(this.#now + delay, run);
  }

  /** Goes on to the next entry; false if there is none. */
  step(): boolean {
    const heap = this.#heap;
    const next = heap[0];
    const last = heap.pop();
    if (next === undefined || last === undefined) return false;
    if (heap.length > 0) {
      let place = 0;
      for (;;) {
        let child = 2 * place + 1;
        if (child >= heap.length) break;
        if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
        if (isBefore(last, heap[child]!)) break;
        heap[place] = heap[child]!;
        place = child;
      }
      heap[place] = last;
    }
    this.#now = next.at;
    next.run();
    return true;
  }
}
