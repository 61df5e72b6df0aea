/** What a section of the benchmarks is: races about one subject, run together or alone. */

import type { RaceResult } from "./race.ts";

export interface BenchOptions {
  readonly rounds: number;
  /** Small work and few rounds: shows that everything runs, and measures little. */
  readonly quick: boolean;
  /** False: ours alone, and nothing is installed. */
  readonly rivals: boolean;
  /** Instead of measuring, sections look for the settings that they measure with, and say them. */
  readonly search: boolean;
  /** Whether a race is asked for; sections leave out the others before they prepare anything. */
  readonly wants: (race: string) => boolean;
  /** May be called as soon as a race is over: long runs show what they have. */
  readonly show: (result: RaceResult) => void;
  /** Sizes given on the command line. */
  readonly sizes: {
    /** Layers of the MLP, from the input's to the output's. */
    readonly mlp: readonly number[] | null;
    readonly batch: number | null;
  };
}

export interface Section {
  /** Progress goes to `say`, one line at a time. Throws where the section cannot run at all. */
  run(options: BenchOptions, say: (line: string) => void): Promise<readonly RaceResult[]>;
}
