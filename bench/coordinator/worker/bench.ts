/** What both sides of a race have: what they begin with, and the passes by name. */

import type { WorkName } from "./job.ts";

/** The passes of one side over its own memory. */
export interface Bench {
  /** Runs a pass so often. */
  run(work: WorkName, repetitions: number): Promise<void>;
  /** What a pass was to change, in one figure: Σ|sums|, Σ of the packed bytes, ‖g‖², Σ|w|. */
  figure(work: WorkName): number;
}

/** Every weight differs from its neighbours and is of a size that networks have. */
export const firstWeight = (at: number): number => Math.fround(Math.sin(at) / 16);

export const LEARNING_RATE = 1e-3;

export function sumOfMagnitudes(values: Int32Array | Float32Array | Uint8Array): number {
  let sum = 0;
  for (const value of values) sum += Math.abs(value);
  return sum;
}
