/** When everyone who is connected is told of the progress: at once where it is pressing, else after a moment, together with what follows. */

import { hasPassed } from "../../shared/clock.ts";
import type { Meter } from "../store/meter.ts";
import { progressInterval } from "./progress.ts";
import type { Wakes } from "./wakes.ts";

export interface AnnouncerOptions {
  readonly wakes: Wakes;
  readonly meter: Meter;
  /** Sends it to all. */
  readonly send: () => void;
}

export class Announcer {
  readonly #options: AnnouncerOptions;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #sentAt = 0;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
  }

  /** Something changed of which so many clients are to hear. */
  announce(clients: number, pressing: boolean): void {
    if (clients === 0 || this.#timer !== null) return;
    const now = Date.now();
    const interval = progressInterval(clients);
    if (pressing || hasPassed(this.#sentAt, interval, now)) {
      this.#send();
      return;
    }
    const { wakes, meter } = this.#options;
    const wait = this.#sentAt + interval - now;
    meter.keepAwake(now, now + wait);
    this.#timer = wakes.later(() => {
      this.#timer = null;
      this.#send();
    }, wait);
  }

  /** Nobody is to be told anything any more. */
  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #send(): void {
    this.#sentAt = Date.now();
    this.#options.send();
  }
}
