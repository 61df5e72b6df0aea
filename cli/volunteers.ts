/** Volunteers that the command line starts itself, whatever they run in: how many are there, and what became of the others. */

import type { VolunteerEngine } from "./arguments.ts";
import { plain } from "./foreign-text.ts";

export interface Volunteers {
  /** How many were started. */
  readonly started: number;
  /** How many are still there. */
  readonly alive: number;
  /** Why the last one that died did so; empty otherwise. */
  readonly lastDeath: string;
  stop(): Promise<void>;
}

export interface VolunteerOptions {
  /** The session's page. */
  readonly url: string;
  /** One a volunteer. */
  readonly engines: readonly VolunteerEngine[];
  readonly say: (line: string) => void;
}

/** Counts volunteers from their start to their end. Deaths are said, unless everyone was sent home. */
export class Roster {
  readonly #living = new Set<number>();
  readonly #say: (line: string) => void;
  #lastDeath = "";
  #dismissed = false;

  constructor(count: number, say: (line: string) => void) {
    for (let number = 1; number <= count; number++) this.#living.add(number);
    this.#say = say;
  }

  get alive(): number {
    return this.#living.size;
  }

  get lastDeath(): string {
    return this.#lastDeath;
  }

  /** From here on nobody's end is news. */
  dismiss(): void {
    this.#dismissed = true;
  }

  /** Counts once, however often it is told. An empty reason is an end that nobody minds. */
  end(number: number, reason: string): void {
    if (!this.#living.delete(number) || this.#dismissed || reason === "") return;
    this.#lastDeath = plain(reason, 500);
    this.#say(`volunteer ${number} is gone: ${this.#lastDeath}`);
  }
}
