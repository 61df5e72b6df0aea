/**
 * How gradient sums travel, as a table. All are integers on the announced grid; they differ in how fine the grid is and in how
 * many bytes a sum takes.
 *
 * `fixed…` says how wide the wire's integer is: a value gets what the sum of a whole step leaves of it. `packed…` says how wide
 * one micro-batch's value is, sign included: sums are packed into the bits they need. Both keep invariant I1 bit for bit.
 *
 * `sparse…` rounds a result's sums to multiples of a unit that is so wide that only so many percent of them differ from zero, and what
 * rounding leaves is added to what the same client sends next (error feedback). What a step comes to then depends on who
 * computed what: these give up I1.
 */

import { coarseBytes, encodeCoarse, findCoarseFault } from "./coarse.ts";
import { findPackingFault, pack, packedBytes, packedWidthsBytes } from "./packed.ts";

export interface SumCodec {
  /** Its name in a frame's header (shared/protocol/frames.ts). */
  readonly frame: "fixed32" | "fixed16" | "packed" | "sparse";
  /** Part of the sums that travels at most; null where all do. What stays behind is fed back (client/core/feedback.ts). */
  readonly part: number | null;
  /** Bits of magnitude q of one rounded value, so that `microBatches` of them cannot overflow. */
  readonly magnitudeBits: (microBatches: number) => number;
  /** Bits of magnitude that a sum may have more than its micro-batches' values: what was owed is in it as well. */
  readonly roomBits: number;
  /** Least and most bytes that `parameters` sums of so many micro-batches take. */
  readonly bytes: (parameters: number, microBatches: number) => { readonly least: number; readonly most: number };
  /** @param unit what 1 stands for, in units of the gradient; of no account where sums are on the announced grid itself */
  readonly encode: (sums: Int32Array, unit: number) => Uint8Array;
  /** Bytes at the beginning that have to be looked at before any is used: all of `byteLength`, or those that say how to read the others. */
  readonly headBytes: (parameters: number, byteLength: number) => number;
  /** What is wrong with so many bytes, between the least and the most, that begin with this head; or null. */
  readonly fault: (head: Uint8Array, byteLength: number, parameters: number, microBatches: number) => string | null;
}

/** ⌈log₂ m⌉: bits that a sum of m values has more than one of them. */
const bitsMore = (microBatches: number): number => Math.ceil(Math.log2(microBatches));

const bytesOf = ({ buffer, byteOffset, byteLength }: Int32Array | Int16Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Integers of one width, whatever they hold. */
function plain(frame: "fixed32" | "fixed16", width: number, encode: SumCodec["encode"]): SumCodec {
  const bits = (microBatches: number): number => width - 1 - bitsMore(microBatches);
  return {
    frame,
    part: null,
    magnitudeBits: bits,
    roomBits: 0,
    bytes: (parameters) => ({ least: (parameters * width) / 8, most: (parameters * width) / 8 }),
    encode,
    headBytes: () => 0,
    fault: () => null,
  };
}

function packed(width: number): SumCodec {
  return {
    frame: "packed",
    part: null,
    magnitudeBits: () => width - 1,
    roomBits: 0,
    bytes: (parameters, microBatches) => ({
      least: packedBytes(parameters, 0),
      most: packedBytes(parameters, width + bitsMore(microBatches)),
    }),
    encode: (sums) => pack(sums),
    headBytes: packedWidthsBytes,
    fault: (head, byteLength, parameters, microBatches) =>
      findPackingFault(head, byteLength, parameters, width + bitsMore(microBatches)),
  };
}

/** Most values of a result that differ from zero. */
export const largestPart = (parameters: number, part: number): number => Math.ceil(parameters * part);

/** A parameter whose gradient is small beside others' waits for so long that it owes hundreds of times that. */
const OWED_BITS = 8;

function sparse(percent: number): SumCodec {
  const part = percent / 100;
  return {
    frame: "sparse",
    part,
    magnitudeBits: (microBatches) => 31 - OWED_BITS - bitsMore(microBatches),
    roomBits: OWED_BITS,
    bytes: (parameters) => coarseBytes(parameters, largestPart(parameters, part)),
    encode: encodeCoarse,
    headBytes: (_, byteLength) => byteLength,
    fault: (body, _, parameters) => findCoarseFault(body, parameters, largestPart(parameters, part)),
  };
}

export const CODECS = {
  fixed32: plain("fixed32", 32, bytesOf),
  fixed16: plain("fixed16", 16, (sums) => bytesOf(Int16Array.from(sums))),
  packed15: packed(15),
  packed14: packed(14),
  packed13: packed(13),
  packed12: packed(12),
  packed11: packed(11),
  packed10: packed(10),
  packed9: packed(9),
  packed8: packed(8),
  packed7: packed(7),
  packed6: packed(6),
  packed5: packed(5),
  packed4: packed(4),
  sparse20: sparse(20),
  sparse15: sparse(15),
  sparse10: sparse(10),
  sparse5: sparse(5),
} as const satisfies Record<string, SumCodec>;

export type GradientCodec = keyof typeof CODECS;

export const codecNames = Object.keys(CODECS) as readonly GradientCodec[];

/** Bits of magnitude q of one rounded value. @param microBatches of the largest step */
export const magnitudeBits = (codec: GradientCodec, microBatches: number): number =>
  CODECS[codec].magnitudeBits(microBatches);

/** Largest magnitude of a sum on the announced grid. @param microBatches that it is of @param ofStep those of the largest step */
export function largestSum(codec: GradientCodec, microBatches: number, ofStep: number): number {
  const { magnitudeBits: bits, roomBits } = CODECS[codec];
  return microBatches * (2 ** (bits(ofStep) + roomBits) - 1);
}

/** Whether a step's sum is the same whoever computed which of its micro-batches (invariant I1). */
export const isExact = (codec: GradientCodec): boolean => CODECS[codec].part === null;

/** The sums as they travel. @param unit of codecs that leave something behind */
export const encodeSums = (sums: Int32Array, codec: GradientCodec, unit = 1): Uint8Array =>
  CODECS[codec].encode(sums, unit);
