/**
 * Sums as multiples of one wide unit, most of them zero: [unit: f32][multiples, as sparse integers]. The unit is the sender's own
 * and in units of the gradient; whoever adds them brings each to the announced grid of its block, to the nearest integer.
 */

import { BLOCK } from "./exponents.ts";
import { encodeSparse, findSparseFault, SparseReader, sparseBytes } from "./sparse.ts";

const HEAD_BYTES = 4;

/** Largest multiple of a unit that is sent at once. */
export const LARGEST_MULTIPLE = 1023;

export function coarseBytes(parameters: number, count: number): { readonly least: number; readonly most: number } {
  const { least, most } = sparseBytes(parameters, count, LARGEST_MULTIPLE);
  return { least: HEAD_BYTES + least, most: HEAD_BYTES + most };
}

export function encodeCoarse(multiples: Int32Array, unit: number): Uint8Array<ArrayBuffer> {
  const values = encodeSparse(multiples);
  const bytes = new Uint8Array(HEAD_BYTES + values.byteLength);
  new DataView(bytes.buffer).setFloat32(0, unit, true);
  bytes.set(values, HEAD_BYTES);
  return bytes;
}

const unitOf = ({ buffer, byteOffset }: Uint8Array): number =>
  new DataView(buffer, byteOffset, HEAD_BYTES).getFloat32(0, true);

/** What is wrong with sums of which at most `count` may differ from zero, or null. @param bytes aligned to 4 */
export function findCoarseFault(bytes: Uint8Array, parameters: number, count: number): string | null {
  if (bytes.byteLength < HEAD_BYTES) return `${bytes.byteLength} bytes are no whole message`;
  const unit = unitOf(bytes);
  if (!(unit > 0 && Number.isFinite(unit))) return `the unit is ${unit}, expected a positive number`;
  return findSparseFault(bytes.subarray(HEAD_BYTES), parameters, count, LARGEST_MULTIPLE);
}

/** What a multiple comes to on a block's grid. @param scale of the grid: units of it in one unit of the gradient */
export const onGrid = (multiple: number, unit: number, scale: number): number => Math.round(multiple * unit * scale);

/**
 * Adds sums without a fault.
 * @param scales of each block's grid, [blocks]
 * @param bound largest magnitude that one may have there
 * @returns false where one is beyond it, and then nothing was added
 */
export function addCoarse(
  bytes: Uint8Array,
  sums: Int32Array,
  scales: (block: number) => number,
  bound: number,
): boolean {
  const unit = unitOf(bytes);
  const values = bytes.subarray(HEAD_BYTES);
  const gridOf = (index: number, multiple: number): number => onGrid(multiple, unit, scales(Math.floor(index / BLOCK)));
  const isWithin = new SparseReader(values, sums.length).every(
    (index, multiple) => Math.abs(gridOf(index, multiple)) <= bound,
  );
  if (!isWithin) return false;
  new SparseReader(values, sums.length).every((index, multiple) => {
    sums[index] += gridOf(index, multiple);
    return true;
  });
  return true;
}
