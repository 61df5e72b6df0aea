/**
 * What is kept of a result that is computed twice: a fingerprint that only equal results share, and a sketch from which the
 * distance of two results can be told. Both are under a key that clients do not know, and come to some kilobytes whatever the
 * size of the model.
 *
 * The sketch is a count-sketch of the gradient (Charikar, Chen, Farach-Colton, 2002): each parameter goes, with a sign, into one of
 * `BUCKETS` sums. The squared length of a difference of two sketches is that of the difference of the gradients, give or take
 * √(2 / BUCKETS) of it, whatever the gradients are. The fingerprint is Σ xᵢ·rᵢ mod 2³², twice (multilinear hashing).
 */

import { BLOCK, type GradientCodec, gridScale } from "../../shared/codec/index.ts";
import { type Key, threefry2x32 } from "../../shared/random/index.ts";
import type { Contribution } from "../aggregate/index.ts";
import { integersOf } from "./integers.ts";

export const BUCKETS = 256;

/** Of one result, as far as a comparison needs it. */
export interface Evidence {
  /** Whether its engine has the same bits on every machine. */
  readonly isReproducible: boolean;
  readonly fingerprint: readonly [number, number];
  /** Sums of signed values of the gradient, [BUCKETS]; empty where there is no gradient. */
  readonly buckets: Float64Array;
  /** Length of the gradient. */
  readonly norm: number;
  readonly loss: number;
  readonly weight: number;
  readonly metrics: Float64Array;
  /** Largest exponents by block; null for evaluations. */
  readonly maxima: Uint8Array | null;
}

/** What evidence is made of. */
export interface Testimony extends Contribution {
  readonly sums: readonly Uint8Array[];
}

/** The grid that a result's integers are on; null where it has none. */
export interface Grid {
  readonly codec: GradientCodec;
  readonly parameters: number;
  readonly announced: Uint8Array;
  /** Magnitude bits of one micro-batch's value. */
  readonly bits: number;
}

/** Bytes that one piece of evidence takes, to be on the safe side. */
export const evidenceBytes = (blocks: number, metrics: number): number => 8 * BUCKETS + blocks + 8 * metrics + 512;

/** A word of the key's stream: the finaliser of MurmurHash3, whose every output bit depends on every input bit. */
function mix(word: number): number {
  let mixed = word ^ (word >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

const GOLDEN = 0x9e3779b9;
/** Counters of the key's stream: gradients by block, and the rest. */
const [GRADIENT, SCALARS] = [0, 1];

export function evidenceOf(key: Key, result: Testimony, grid: Grid | null, isReproducible: boolean): Evidence {
  const fingerprint: [number, number] = [0, 0];
  const buckets = new Float64Array(grid === null ? 0 : BUCKETS);
  const square = grid === null ? 0 : sketch(key, result.sums, grid, buckets, fingerprint);
  const { loss, weight, metrics, clamped, maxima } = result;
  const words = [
    clamped,
    ...[loss, weight, ...metrics].flatMap((sum) => [low(sum), low(sum >> 32n)]),
    ...(maxima ?? []),
  ];
  const pair = new Uint32Array(2);
  for (const [at, word] of words.entries()) {
    threefry2x32(key[0], key[1], at, SCALARS, pair);
    fingerprint[0] = (fingerprint[0] + Math.imul(word, pair[0])) | 0;
    fingerprint[1] = (fingerprint[1] + Math.imul(word, pair[1])) | 0;
  }
  return {
    isReproducible,
    fingerprint,
    buckets,
    norm: Math.sqrt(square),
    loss: Number(loss),
    weight: Number(weight),
    metrics: Float64Array.from(metrics, Number),
    // A copy: the view would keep all of its frame.
    maxima: maxima?.slice() ?? null,
  };
}

const low = (value: bigint): number => Number(BigInt.asIntN(32, value));

/** Fills the buckets and adds to the fingerprint; answers the squared length. */
function sketch(
  key: Key,
  sums: readonly Uint8Array[],
  { codec, parameters, announced, bits }: Grid,
  buckets: Float64Array,
  fingerprint: [number, number],
): number {
  const pair = new Uint32Array(2);
  let [first, second] = [0, 0];
  let square = 0;
  let start = 0;
  for (const run of integersOf(sums, codec, parameters)) {
    for (let from = 0; from < run.length; from += BLOCK) {
      const block = (start + from) / BLOCK;
      const unit = 1 / gridScale(bits, announced[block]);
      threefry2x32(key[0], key[1], block, GRADIENT, pair);
      const [one, other] = pair;
      const to = Math.min(from + BLOCK, run.length);
      for (let at = from; at < to; at++) {
        const integer = run[at];
        if (integer === 0) continue;
        const word = mix(one + Math.imul(at, GOLDEN));
        first += Math.imul(integer, word);
        second += Math.imul(integer, word ^ other);
        const value = integer * unit;
        square += value * value;
        buckets[word >>> 24] += (word & 1) === 0 ? value : -value;
      }
      first |= 0;
      second |= 0;
    }
    start += run.length;
  }
  fingerprint[0] = first;
  fingerprint[1] = second;
  return square;
}
