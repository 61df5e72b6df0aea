/**
 * The shuffle of an epoch as a bijection that is computed position by position in O(1) memory, so that a client derives
 * its sample indices from a range of positions and nobody sends or stores a permutation.
 *
 * A balanced Feistel network over the smallest even number of bits that covers the size, with Threefry as its round
 * function, and cycle walking for what falls outside (Black and Rogaway: Ciphers with Arbitrary Finite Domains, 2002).
 */

import { deriveKey, type Key } from "./keys.ts";
import { threefry2x32 } from "./threefry.ts";

const ROUNDS = 6;
/** Up to so many bits of half a position, a permutation's round words are kept: 6 × 4,096 of them at most. */
const MOST_KEPT_BITS = 12;
const word = new Uint32Array(2);

/** What the round function makes of the right half. */
function roundWord(key: Key, right: number, round: number): number {
  threefry2x32(key[0], key[1], right, round, word);
  return word[0];
}

/** Bits of half a position. */
const halfOf = (size: number): number => Math.max(1, Math.ceil(Math.log2(size) / 2));

function requirePosition(position: number, size: number): void {
  if (!(position >= 0 && position < size)) throw new RangeError(`position ${position} is not in [0, ${size})`);
}

/** Image of `position` under the permutation of [0, size) that `key` names. Throws RangeError outside of it. */
export function permuteIndex(key: Key, size: number, position: number): number {
  requirePosition(position, size);
  const range = 2 ** halfOf(size);
  const mask = range - 1;
  let value = position;
  do {
    let left = Math.floor(value / range);
    let right = value % range;
    for (let round = 0; round < ROUNDS; round++) {
      [left, right] = [right, (left ^ (roundWord(key, right, round) & mask)) >>> 0];
    }
    value = left * range + right;
  } while (value >= size);
  return value;
}

/** The same permutation, to be asked for many positions: half a position has few values, so its round words are a table. */
export class Permutation {
  readonly #key: Key;
  readonly #size: number;
  readonly #half: number;
  /** By round and right half; null where they would be too many. */
  readonly #words: Uint16Array | null;

  constructor(key: Key, size: number) {
    const half = halfOf(size);
    const mask = 2 ** half - 1;
    this.#key = key;
    this.#size = size;
    this.#half = half;
    const isKept = half <= MOST_KEPT_BITS;
    this.#words = isKept
      ? Uint16Array.from({ length: ROUNDS << half }, (_, at) => roundWord(key, at & mask, at >> half) & mask)
      : null;
  }

  /** Throws RangeError outside of [0, size). */
  at(position: number): number {
    const words = this.#words;
    const size = this.#size;
    if (words === null) return permuteIndex(this.#key, size, position);
    requirePosition(position, size);
    const half = this.#half;
    const mask = (1 << half) - 1;
    let value = position;
    do {
      let left = value >> half;
      let right = value & mask;
      for (let row = 0; row < words.length; row += mask + 1) {
        const next = left ^ words[row + right];
        left = right;
        right = next;
      }
      value = (left << half) | right;
    } while (value >= size);
    return value;
  }
}

/** Key of an epoch's shuffle. */
export const epochKey = (seed: number, epoch: number): Key => deriveKey(seed, "permutation", epoch);

/** Sample at a position of an epoch over `size` samples. */
export function sampleIndex(seed: number, epoch: number, size: number, position: number): number {
  return permuteIndex(epochKey(seed, epoch), size, position);
}
