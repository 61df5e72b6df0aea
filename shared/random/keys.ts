/**
 * Keys of the session's independent random streams. A key is itself a Threefry output, so streams of different purposes
 * never overlap.
 */

import { threefry2x32 } from "./threefry.ts";

export type Key = readonly [number, number];

/** Purposes of random numbers; the numbers are part of the protocol. */
export const DOMAINS = { initialization: 1, permutation: 2, dropout: 3, augmentation: 4, generation: 5 } as const;

export type Domain = keyof typeof DOMAINS;

/** Key of a stream: Threefry of (a, b) under the key (seed, domain). All arguments are unsigned 32-bit. */
export function deriveKey(seed: number, domain: Domain, a = 0, b = 0): Key {
  const out = new Uint32Array(2);
  threefry2x32(seed, DOMAINS[domain], a, b, out);
  return [out[0], out[1]];
}

/** A float in [0, 1) from one word: its upper 24 bits, exact in float32. */
export function uniformFloat(word: number): number {
  return (word >>> 8) * 2 ** -24;
}
