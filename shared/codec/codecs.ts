/**
 * How gradient sums travel, as a table. All are integers on the announced grid, so every one keeps invariant I1 bit for bit;
 * they differ in how fine the grid is and in how many bytes a sum takes.
 *
 * `fixed…` says how wide the wire's integer is: a value gets what the sum of a whole step leaves of it. `packed…` says how wide
 * one micro-batch's value is, sign included: sums are packed into the bits they need.
 */

import { findPackingFault, pack, packedBytes, packedWidthsBytes } from "./packed.ts";

export interface SumCodec {
  /** Its name in a frame's header (shared/protocol/frames.ts). */
  readonly frame: "fixed32" | "fixed16" | "packed";
  /** Bits of magnitude q of one rounded value, so that `microBatches` of them cannot overflow. */
  readonly magnitudeBits: (microBatches: number) => number;
  /** Least and most bytes that `parameters` sums of so many micro-batches take. */
  readonly bytes: (parameters: number, microBatches: number) => { readonly least: number; readonly most: number };
  readonly encode: (sums: Int32Array) => Uint8Array;
  /** Bytes at the beginning that say how the others are to be read. */
  readonly headBytes: (parameters: number) => number;
  /** What is wrong with so many bytes, between the least and the most, that begin with this head; or null. */
  readonly fault: (head: Uint8Array, byteLength: number, parameters: number, microBatches: number) => string | null;
}

/** ⌈log₂ m⌉: bits that a sum of m values has more than one of them. */
const bitsMore = (microBatches: number): number => Math.ceil(Math.log2(microBatches));

const bytesOf = ({ buffer, byteOffset, byteLength }: Int32Array | Int16Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Integers of one width, whatever they hold. */
function plain(frame: "fixed32" | "fixed16", width: number, encode: SumCodec["encode"]): SumCodec {
  return {
    frame,
    magnitudeBits: (microBatches) => width - 1 - bitsMore(microBatches),
    bytes: (parameters) => ({ least: (parameters * width) / 8, most: (parameters * width) / 8 }),
    encode,
    headBytes: () => 0,
    fault: () => null,
  };
}

function packed(width: number): SumCodec {
  return {
    frame: "packed",
    magnitudeBits: () => width - 1,
    bytes: (parameters, microBatches) => ({
      least: packedBytes(parameters, 0),
      most: packedBytes(parameters, width + bitsMore(microBatches)),
    }),
    encode: pack,
    headBytes: packedWidthsBytes,
    fault: (head, byteLength, parameters, microBatches) =>
      findPackingFault(head, byteLength, parameters, width + bitsMore(microBatches)),
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
} as const satisfies Record<string, SumCodec>;

export type GradientCodec = keyof typeof CODECS;

export const codecNames = Object.keys(CODECS) as readonly GradientCodec[];

/** Bits of magnitude q of one rounded value. @param microBatches of the largest step */
export const magnitudeBits = (codec: GradientCodec, microBatches: number): number =>
  CODECS[codec].magnitudeBits(microBatches);

/** The sums as they travel. */
export const encodeSums = (sums: Int32Array, codec: GradientCodec): Uint8Array => CODECS[codec].encode(sums);
