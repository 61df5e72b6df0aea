/** A socket between one volunteer and the coordinator: what arrives, arrives in order, and nothing does once it is cut. */

import type { Chance, Timeline } from "./timeline.ts";

export class Line {
  readonly #time: Timeline;
  readonly #chance: Chance;
  /** Milliseconds one way, on average. */
  readonly #latency: number;
  #upAt = 0;
  #downAt = 0;
  isOpen = true;

  constructor(time: Timeline, chance: Chance, latency: number) {
    this.#time = time;
    this.#chance = chance;
    this.#latency = latency;
  }

  /** To the coordinator. */
  up(deliver: () => void): void {
    this.#upAt = this.#send(this.#upAt, deliver);
  }

  /** To the volunteer. */
  down(deliver: () => void): void {
    this.#downAt = this.#send(this.#downAt, deliver);
  }

  #send(previous: number, deliver: () => void): number {
    const at = Math.max(previous, this.#time.now + this.#latency * (0.5 + this.#chance.next()));
    this.#time.at(at, () => {
      if (this.isOpen) deliver();
    });
    return at;
  }
}
