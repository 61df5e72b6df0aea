/**
 * Exponents of blocks: for each block of 256 parameters, the biased exponent byte of its largest |value|. A byte E says
 * |value| < 2^(E − 126); 0 is all zero (or denormal), 255 says that a value is not finite.
 */

/** Parameters that share one exponent. */
export const BLOCK = 256;

/** Exponent byte of a block that holds a NaN or an infinity. */
export const NON_FINITE = 255;

export const blockCount = (length: number): number => Math.ceil(length / BLOCK);

/** Raises `maxima` to the exponents of `gradient`'s blocks. Shapes: gradient [parameters], maxima [blocks]. */
export function measureExponents(gradient: Float32Array, maxima: Uint8Array): void {
  const bits = new Uint32Array(gradient.buffer, gradient.byteOffset, gradient.length);
  for (let block = 0, start = 0; start < bits.length; block++, start += BLOCK) {
    const end = Math.min(start + BLOCK, bits.length);
    let largest = 0;
    for (let at = start; at < end; at++) {
      const magnitude = bits[at] & 0x7fffffff;
      if (magnitude > largest) largest = magnitude;
    }
    const exponent = largest >>> 23;
    if (exponent > maxima[block]) maxima[block] = exponent;
  }
}

/** Index of the first block that holds a value that is not finite, or −1. */
export const firstNonFinite = (maxima: Uint8Array): number => maxima.indexOf(NON_FINITE);
