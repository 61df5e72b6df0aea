/**
 * Reads IDX, the format of MNIST (http://yann.lecun.com/exdb/mnist/): a big-endian header of magic and sizes, then bytes. Files
 * may be gzipped. Only unsigned bytes are read, which is what image sets use.
 */

import { gunzipSync } from "node:zlib";
import { CliError } from "../errors.ts";

const UNSIGNED_BYTE = 0x08;
const MAX_BYTES = 2_000_000_000;

export interface IdxArray {
  /** Sizes of all dimensions; the first one counts samples. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

function decompress(bytes: Uint8Array, name: string): Uint8Array {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_BYTES });
  } catch (cause) {
    throw new CliError(`${name} is not a whole gzip file, or over ${MAX_BYTES} bytes`, { cause });
  }
}

/** Throws CliError naming the file and what is wrong with it. */
export function parseIdx(file: Uint8Array, name: string): IdxArray {
  const bytes = decompress(file, name);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 4 || view.getUint16(0) !== 0) throw new CliError(`${name} is not an IDX file`);
  const type = bytes[2];
  const rank = bytes[3];
  if (type !== UNSIGNED_BYTE)
    throw new CliError(`${name} holds IDX type 0x${type.toString(16)}, only unsigned bytes are read`);
  const header = 4 + rank * 4;
  if (rank < 1 || rank > 4 || bytes.length < header)
    throw new CliError(`${name}: an IDX header of ${rank} dimensions is cut off`);
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + axis * 4));
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  if (size !== bytes.length - header) {
    throw new CliError(`${name}: ${shape.join(" × ")} needs ${size} bytes, the file has ${bytes.length - header}`);
  }
  return { shape, data: bytes.subarray(header) };
}
