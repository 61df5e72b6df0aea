/**
 * How the kernel `addPacked` takes four packed values at a time out of one vector, by their width: which bytes go into each
 * 32-bit lane, and the power of two that moves the value to the lane's top, from where an arithmetic shift brings it down with its sign.
 */

import { MOST_BITS } from "../../shared/codec/index.ts";

const LANES = 4;
const LANE_BYTES = 4;
/** Bytes and factors for four values that begin with a byte, and for the four after them. */
const VECTORS = 4;
const VECTOR_BYTES = LANES * LANE_BYTES;

export const LANE_WORDS = ((MOST_BITS + 1) * VECTORS * VECTOR_BYTES) / 4;

/** The table by width, from 0 on; that of width 0 is not used. */
export function laneTable(): Uint8Array {
  const table = new Uint8Array(LANE_WORDS * 4);
  const view = new DataView(table.buffer);
  for (let width = 1; width <= MOST_BITS; width++) {
    for (const [half, start] of [0, (LANES * width) % 8].entries()) {
      const bytesAt = (width * VECTORS + half * 2) * VECTOR_BYTES;
      for (let lane = 0; lane < LANES; lane++) {
        const bit = start + lane * width;
        for (let byte = 0; byte < LANE_BYTES; byte++) table[bytesAt + lane * LANE_BYTES + byte] = (bit >> 3) + byte;
        const factor = 2 ** (32 - width - (bit % 8));
        view.setUint32(bytesAt + VECTOR_BYTES + lane * LANE_BYTES, factor, true);
      }
    }
  }
  return table;
}
