/**
 * For a thread that computes and has others to hear: a pause, a lease that is taken back, the coordinator's next word. A micro-batch
 * runs to its end, so they are heard between two.
 */

/** Milliseconds of computing after which it is the others' turn. */
const LONGEST = 10;

export class Turns {
  readonly #defer: (callback: () => void) => void;
  #since = 0;

  /** @param defer calls back as a task of its own, behind those that wait already */
  constructor(defer: (callback: () => void) => void) {
    this.#defer = defer;
  }

  /** The thread has just heard of its work. */
  begin(): void {
    this.#since = performance.now();
  }

  /** To be awaited between micro-batches. */
  async pass(): Promise<void> {
    if (performance.now() - this.#since < LONGEST) return;
    await new Promise<void>(this.#defer);
    this.begin();
  }
}
