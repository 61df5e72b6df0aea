/**
 * Fixed-point sums: each micro-batch's gradient is rounded to integers on a grid that was announced with the step, and
 * integers are added. Integer addition is associative, so the sum does not depend on who computed which micro-batch, in
 * which order, or how often it was tried (invariant I1).
 *
 * Prior art: SwitchML (Sapio et al., NSDI 2021), whose switches add block-scaled integers.
 */

import { BLOCK } from "./exponents.ts";

/** What a value of a block with announced exponent byte E is multiplied by: 2^(q − (E − 126)), exact. */
export const gridScale = (bits: number, exponent: number): number => 2 ** (bits - (exponent - 126));

/** Adding and subtracting this rounds a double of less than 2⁵¹ to an integer, ties to even. */
const ROUND = 1.5 * 2 ** 52;

/**
 * Rounds one micro-batch's gradient to the grid and adds it to the sum.
 * Shapes: gradient and sums [parameters], announced and maxima [blocks].
 * A value that is not finite adds nothing; its block's maximum says so.
 * @param bits magnitude bits q
 * @param maxima raised to the exponents seen
 * @returns how many values were clamped to ±(2^q − 1)
 */
export function accumulateFixed(
  gradient: Float32Array,
  announced: Uint8Array,
  bits: number,
  sums: Int32Array,
  maxima: Uint8Array,
): number {
  const words = new Uint32Array(gradient.buffer, gradient.byteOffset, gradient.length);
  const limit = 2 ** bits - 1;
  let clamped = 0;
  for (let block = 0, start = 0; start < words.length; block++, start += BLOCK) {
    const end = Math.min(start + BLOCK, words.length);
    let largest = 0;
    for (let at = start; at < end; at++) {
      const magnitude = words[at] & 0x7fffffff;
      if (magnitude > largest) largest = magnitude;
    }
    const exponent = largest >>> 23;
    if (exponent > maxima[block]) maxima[block] = exponent;
    if (exponent === 0) continue;
    const scale = gridScale(bits, announced[block]);
    if (exponent < announced[block]) {
      // |value| < 2^(E − 127): it rounds to at most 2^(q − 1), so nothing can need clamping.
      for (let at = start; at < end; at++) sums[at] += gradient[at] * scale + ROUND - ROUND;
      continue;
    }
    for (let at = start; at < end; at++) {
      if ((words[at] & 0x7f800000) === 0x7f800000) continue;
      let value = gradient[at] * scale;
      value = Math.abs(value) > limit + 1 ? Math.sign(value) * (limit + 1) : value + ROUND - ROUND;
      if (Math.abs(value) > limit) {
        value = Math.sign(value) * limit;
        clamped += 1;
      }
      sums[at] += value;
    }
  }
  return clamped;
}
