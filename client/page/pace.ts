/**
 * At most one turn a second, and at once when a person did something: how often the page draws itself. News come
 * several times a second and from training far more often; people read slower, and the main thread stays theirs.
 */

/** Milliseconds between two turns. */
const INTERVAL = 1_000;

export class Pace {
  #last = Number.NEGATIVE_INFINITY;
  #isUrgent = false;
  #release: (() => void) | null = null;

  /** Resolves when it is time. One caller at a time. */
  async turn(): Promise<void> {
    const rest = this.#isUrgent ? 0 : this.#last + INTERVAL - performance.now();
    if (rest > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, rest);
        this.#release = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#release = null;
    this.#isUrgent = false;
    this.#last = performance.now();
  }

  /** The turn that is waited for, or the next one, comes at once. */
  hurry(): void {
    this.#isUrgent = true;
    this.#release?.();
  }
}
