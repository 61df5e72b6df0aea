/**
 * Dropout masks by (seed, step, layer, position in the step, unit): the same whichever client computes the sample, and the
 * same bits in WGSL.
 */

import { deriveKey } from "./keys.ts";
import { threefry2x32 } from "./threefry.ts";

/** A unit is kept if its random word is at least this. */
export function dropoutThreshold(probability: number): number {
  return Math.floor(probability * 2 ** 32);
}

/** What a kept unit is multiplied by, as float32: inverted dropout keeps the expectation. */
export function dropoutScale(probability: number): number {
  return Math.fround(1 / (1 - probability));
}

/**
 * Fills `out` ([samples, units] flat) with 0 or 1/(1−probability).
 * @param layer the DropoutMask node's own number
 * @param firstPosition position of the first sample in the step's global batch
 */
export function fillDropoutMask(
  seed: number,
  step: number,
  layer: number,
  probability: number,
  firstPosition: number,
  samples: number,
  units: number,
  out: Float32Array,
): void {
  const [k0, k1] = deriveKey(seed, "dropout", step, layer);
  const threshold = dropoutThreshold(probability);
  const kept = dropoutScale(probability);
  const words = new Uint32Array(2);
  let at = 0;
  for (let sample = 0; sample < samples; sample++) {
    for (let unit = 0; unit < units; unit++) {
      if ((unit & 1) === 0) threefry2x32(k0, k1, firstPosition + sample, unit >>> 1, words);
      out[at++] = words[unit & 1] >= threshold ? kept : 0;
    }
  }
}
