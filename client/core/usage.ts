/** The books of a volunteer: how long it computed, and how much of the last half minute. Times are milliseconds. */

/** What a measured duty cycle looks back on. */
const WINDOW = 30_000;

export class Stopwatch {
  /** Stretches of work that end within the window, oldest first. */
  readonly #recent: { readonly end: number; readonly busy: number }[] = [];
  #computed = 0;
  #active = 0;
  #activeSince: number | null = null;
  #startedAt: number | null = null;

  /** Whether the client takes part from now on. The first time starts the books. */
  setActive(active: boolean, time: number): void {
    if (active) this.#startedAt ??= time;
    if (active === (this.#activeSince !== null)) return;
    if (this.#activeSince !== null) this.#active += time - this.#activeSince;
    this.#activeSince = active ? time : null;
  }

  computed(busy: number, end: number): void {
    this.#computed += busy;
    this.#recent.push({ end, busy });
    this.#forget(end);
  }

  get computeSeconds(): number {
    return this.#computed / 1000;
  }

  activeSeconds(time: number): number {
    return (this.#active + (this.#activeSince === null ? 0 : time - this.#activeSince)) / 1000;
  }

  /** Part of the window, or of the time since the start, that was spent computing: 0 to 1. */
  dutyCycle(time: number): number {
    this.#forget(time);
    if (this.#startedAt === null) return 0;
    const from = Math.max(time - WINDOW, this.#startedAt);
    let busy = 0;
    for (const stretch of this.#recent) busy += Math.min(stretch.busy, stretch.end - from);
    return time <= from ? 0 : Math.min(1, busy / (time - from));
  }

  #forget(time: number): void {
    const kept = this.#recent.findIndex(({ end }) => end > time - WINDOW);
    this.#recent.splice(0, kept < 0 ? this.#recent.length : kept);
  }
}
