/** Reads tensors out of safetensors files (shared/safetensors.ts) of other people's making. */

import type { NamedTensor } from "../../shared/nn/index.ts";
import {
  headerLength,
  LENGTH_BYTES,
  parseHeader,
  requireCover,
  SafetensorsError,
  type SafetensorsHeader,
} from "../../shared/safetensors.ts";
import { CliError, messageOf } from "../errors.ts";

const MAX_HEADER = 10_000_000;
/** Numbers of all tensors: a session has at most 3 million parameters. */
const MAX_NUMBERS = 8_000_000;

interface Kind {
  readonly bytes: number;
  readonly read: (view: DataView, at: number) => number;
}

const bits = new DataView(new ArrayBuffer(4));

function brain(view: DataView, at: number): number {
  bits.setUint32(0, view.getUint16(at, true) << 16);
  return bits.getFloat32(0);
}

/** IEEE 754 binary16. */
function half(view: DataView, at: number): number {
  const word = view.getUint16(at, true);
  const [sign, exponent, fraction] = [word & 0x8000 ? -1 : 1, (word >> 10) & 31, word & 1023];
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** Types of weights; integers, such as a count of batches, are left out. */
const FLOATS: Readonly<Record<string, Kind>> = {
  F32: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  F64: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
  F16: { bytes: 2, read: half },
  BF16: { bytes: 2, read: brain },
};

const quote = (name: string): string => JSON.stringify(name.length > 100 ? `${name.slice(0, 99)}…` : name);

/** The file's name and the tensor in front of what is wrong. */
function complain(error: unknown, file: string): never {
  if (!(error instanceof SafetensorsError)) throw error;
  const where = error.tensor === null ? file : `${file}, tensor ${quote(error.tensor)}`;
  throw new CliError(`${where}: ${error.message}`, { cause: error });
}

/** The header and where the tensors' bytes begin. Throws CliError naming the file. */
export function readHeader(file: Uint8Array, name: string): { header: SafetensorsHeader; start: number } {
  let start: number;
  try {
    start = LENGTH_BYTES + headerLength(file, Math.min(MAX_HEADER, file.length - LENGTH_BYTES));
  } catch (error) {
    throw new CliError(`${name} is not a safetensors file: ${messageOf(error)}`, { cause: error });
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(LENGTH_BYTES, start));
  } catch (error) {
    throw new CliError(`${name}: its header is not JSON: ${messageOf(error)}`, { cause: error });
  }
  try {
    const header = parseHeader(text);
    requireCover(header, file.length - start);
    return { header, start };
  } catch (error) {
    return complain(error, name);
  }
}

/** Tensors of floating-point numbers by name. Throws CliError naming the file, the tensor and what is wrong with it. */
export function parseSafetensors(file: Uint8Array, name: string): Map<string, NamedTensor> {
  const { header, start } = readHeader(file, name);
  const tensors = new Map<string, NamedTensor>();
  let numbers = 0;
  for (const { name: key, dtype, shape, from, to } of header.tensors) {
    const size = shape.reduce((product, next) => product * next, 1);
    numbers += size;
    if (numbers > MAX_NUMBERS) throw new CliError(`${name}: more than ${MAX_NUMBERS} numbers`);
    const kind = Object.hasOwn(FLOATS, dtype) ? FLOATS[dtype] : undefined;
    if (kind === undefined) continue;
    const view = new DataView(file.buffer, file.byteOffset + start + from, to - from);
    const values = Float32Array.from({ length: size }, (_, at) => kind.read(view, at * kind.bytes));
    tensors.set(key, { shape, values });
  }
  return tensors;
}
