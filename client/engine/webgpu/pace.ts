/**
 * How much is handed to the GPU at a time. The desktop shares it: a submit should take no more than a fraction of
 * `LONGEST_SUBMIT`, so on slow adapters even one micro-batch is cut into several submits. And enough must be queued to keep
 * a fast adapter busy, but not so much that pausing takes long.
 */

/** Milliseconds. Aimed at half of the 100 that a volunteer may notice, because the estimate is rough. */
const LONGEST_SUBMIT = 50;
const MOST_QUEUED = 100;

const LEAST_IN_FLIGHT = 2;
const MOST_IN_FLIGHT = 8;

/** Operations a millisecond before anything was measured: so slow that the first micro-batch is cut finely. */
const FIRST_RATE = 1e6;

/** Weight of the latest measurement. */
const SMOOTHING = 0.3;

export class Pace {
  #rate = FIRST_RATE;
  #measured = false;
  #lastDone = 0;
  readonly #inFlight: Promise<void>[] = [];

  /** Operations of one submit. */
  get submitWork(): number {
    return this.#rate * LONGEST_SUBMIT;
  }

  /** Milliseconds that this much work takes. */
  estimate(work: number): number {
    return work / this.#rate;
  }

  /** Notes work that was handed over now; `done` resolves when it is computed. */
  started(work: number, done: Promise<unknown>): void {
    const from = performance.now();
    const finished = done.then(() => {
      const now = performance.now();
      const elapsed = Math.max(now - Math.max(from, this.#lastDone), 0.01);
      this.#lastDone = now;
      const rate = work / elapsed;
      this.#rate = this.#measured ? this.#rate + SMOOTHING * (rate - this.#rate) : rate;
      this.#measured = true;
    });
    // Whoever waits for it sees the error; nobody has to.
    finished.catch(() => {});
    this.#inFlight.push(finished);
  }

  /** Resolves when another piece of this much work may be handed over. */
  async room(work: number): Promise<void> {
    const wanted = Math.floor(MOST_QUEUED / Math.max(this.estimate(work), 1e-3));
    const most = Math.min(Math.max(wanted, LEAST_IN_FLIGHT), MOST_IN_FLIGHT);
    while (this.#inFlight.length >= most) await this.#inFlight.shift();
  }

  /** Resolves when nothing is in flight. */
  async idle(): Promise<void> {
    while (this.#inFlight.length > 0) await this.#inFlight.shift();
  }
}
