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
const word = new Uint32Array(2);

/** Image of `position` under the permutation of [0, size) that `key` names. Throws RangeError outside of it. */
export function permuteIndex(key: Key, size: number, position: number): number {
  if (!(position >= 0 && position < size)) throw new RangeError(`position ${position} is not in [0, ${size})`);
  const half = Math.max(1, Math.ceil(Math.log2(size) / 2));
  const mask = 2 ** half - 1;
  let value = position;
  do {
    let left = Math.floor(value / (mask + 1));
    let right = value % (mask + 1);
    for (let round = 0; round < ROUNDS; round++) {
      threefry2x32(key[0], key[1], right, round, word);
      [left, right] = [right, (left ^ (word[0] & mask)) >>> 0];
    }
    value = left * (mask + 1) + right;
  } while (value >= size);
  return value;
}

/** Key of an epoch's shuffle. */
export const epochKey = (seed: number, epoch: number): Key => deriveKey(seed, "permutation", epoch);

/** Sample at a position of an epoch over `size` samples. */
export function sampleIndex(seed: number, epoch: number, size: number, position: number): number {
  return permuteIndex(epochKey(seed, epoch), size, position);
}
