/**
 * A series of points that is never longer than what a screen can show: when it is full, every second point goes, and of
 * those that come only every second, fourth, … is kept. A page left open for days holds no more than one of a minute.
 */

/** Most points that are kept. */
const CAPACITY = 1_024;

export class History {
  readonly #xs: number[] = [];
  readonly #ys: number[] = [];
  /** One point in so many is kept. */
  #stride = 1;
  #count = 0;
  #last: { readonly x: number; readonly y: number } | null = null;
  #first: { readonly x: number; readonly y: number } | null = null;

  /** Points that were added, kept or not. */
  get count(): number {
    return this.#count;
  }

  get first(): { readonly x: number; readonly y: number } | null {
    return this.#first;
  }

  get last(): { readonly x: number; readonly y: number } | null {
    return this.#last;
  }

  /** `x` rises. */
  add(x: number, y: number): void {
    this.#last = { x, y };
    this.#first ??= this.#last;
    if (this.#count % this.#stride === 0) {
      this.#xs.push(x);
      this.#ys.push(y);
    }
    this.#count += 1;
    if (this.#xs.length < CAPACITY) return;
    for (const values of [this.#xs, this.#ys]) {
      const kept = values.filter((_, index) => index % 2 === 0);
      values.splice(0, values.length, ...kept);
    }
    this.#stride *= 2;
  }

  /** What is kept, and the last point in any case. */
  points(): [xs: number[], ys: number[]] {
    const last = this.#last;
    if (last === null || this.#xs.at(-1) === last.x) return [this.#xs, this.#ys];
    return [
      [...this.#xs, last.x],
      [...this.#ys, last.y],
    ];
  }
}

/** Exponential moving average that starts unbiased: the line that people read a noisy loss by. */
export class Average {
  readonly #keep: number;
  #sum = 0;
  #weight = 0;

  /** `keep` is the part of the average that stays when a value comes, 0 ≤ keep < 1. */
  constructor(keep: number) {
    this.#keep = keep;
  }

  /** The average with this value in it. */
  add(value: number): number {
    this.#sum = this.#keep * this.#sum + (1 - this.#keep) * value;
    this.#weight = this.#keep * this.#weight + (1 - this.#keep);
    return this.#sum / this.#weight;
  }
}
