/** What the page and its worker say to each other. */

import type { WorkloadName } from "../engine/workloads.ts";
import type { RaceResult } from "../harness/race.ts";

export interface RunRequest {
  readonly workloads: readonly WorkloadName[];
  readonly rounds: number;
  readonly quick: boolean;
}

/** Null where there is no WebGPU. */
export type AdapterDescription = {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** True: no graphics card, but the processor pretending to be one. */
  readonly software: boolean;
} | null;

export type WorkerMessage =
  | { readonly type: "adapter"; readonly adapter: AdapterDescription }
  | { readonly type: "progress"; readonly line: string }
  | { readonly type: "race"; readonly result: RaceResult }
  | { readonly type: "done" }
  | { readonly type: "failed"; readonly problem: string };
