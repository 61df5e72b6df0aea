/**
 * Reads safetensors (https://github.com/huggingface/safetensors#format): the header's length as u64, a JSON header of names,
 * types, shapes and byte ranges, then the tensors. As the format demands, the ranges cover the file exactly.
 */

import * as v from "valibot";
import type { NamedTensor } from "../../shared/nn/index.ts";
import { CliError, messageOf } from "../errors.ts";

const MAX_HEADER = 10_000_000;
const MAX_TENSORS = 10_000;
const MAX_RANK = 8;
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

const OTHERS: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  U16: 2,
  I16: 2,
  U32: 4,
  I32: 4,
  U64: 8,
  I64: 8,
};

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const entrySchema = v.strictObject({
  dtype: v.string(),
  shape: v.pipe(v.array(count), v.maxLength(MAX_RANK)),
  data_offsets: v.strictTuple([count, count]),
});

interface Entry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly from: number;
  readonly to: number;
}

const quote = (name: string): string => JSON.stringify(name.length > 100 ? `${name.slice(0, 99)}…` : name);

function parseHeader(file: Uint8Array, name: string): { entries: Entry[]; start: number } {
  if (file.length < 8) throw new CliError(`${name} is not a safetensors file: it has ${file.length} bytes`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const announced = view.getBigUint64(0, true);
  if (announced > BigInt(Math.min(MAX_HEADER, file.length - 8))) {
    throw new CliError(`${name} is not a safetensors file: a header of ${announced} bytes in one of ${file.length}`);
  }
  const start = 8 + Number(announced);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(8, start)));
  } catch (error) {
    throw new CliError(`${name}: its header is not JSON: ${messageOf(error)}`, { cause: error });
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw new CliError(`${name}: its header is no table of tensors`);
  }
  const named = Object.entries(header).filter(([key]) => key !== "__metadata__");
  if (named.length > MAX_TENSORS) throw new CliError(`${name}: ${named.length} tensors, the limit is ${MAX_TENSORS}`);
  const entries = named.map(([key, value]): Entry => {
    const result = v.safeParse(entrySchema, value);
    if (!result.success) throw new CliError(`${name}, tensor ${quote(key)}: ${result.issues[0].message}`);
    const { dtype, shape, data_offsets } = result.output;
    return { name: key, dtype, shape, from: data_offsets[0], to: data_offsets[1] };
  });
  return { entries, start };
}

/** One after another, without a gap, up to the end of the file. */
function checkRanges(entries: readonly Entry[], held: number, file: string): void {
  let end = 0;
  for (const { name, from, to } of [...entries].sort((a, b) => a.from - b.from || a.to - b.to)) {
    if (from !== end || to < from || to > held) {
      throw new CliError(
        `${file}, tensor ${quote(name)}: its bytes are ${from}..${to}, expected from ${end} to at most ${held}`,
      );
    }
    end = to;
  }
  if (end !== held) throw new CliError(`${file}: ${held - end} bytes at its end belong to no tensor`);
}

/** Tensors of floating-point numbers by name. Throws CliError naming the file, the tensor and what is wrong with it. */
export function parseSafetensors(file: Uint8Array, name: string): Map<string, NamedTensor> {
  const { entries, start } = parseHeader(file, name);
  checkRanges(entries, file.length - start, name);
  const tensors = new Map<string, NamedTensor>();
  let numbers = 0;
  for (const { name: key, dtype, shape, from, to } of entries) {
    const kind = Object.hasOwn(FLOATS, dtype) ? FLOATS[dtype] : undefined;
    const bytes = kind?.bytes ?? (Object.hasOwn(OTHERS, dtype) ? OTHERS[dtype] : undefined);
    if (bytes === undefined) throw new CliError(`${name}, tensor ${quote(key)}: its type ${quote(dtype)} is not read`);
    const size = shape.reduce((product, next) => product * next, 1);
    if (size * bytes !== to - from) {
      throw new CliError(
        `${name}, tensor ${quote(key)}: ${dtype} [${shape.join(", ")}] needs ${size * bytes} bytes, ${to - from} are its own`,
      );
    }
    numbers += size;
    if (numbers > MAX_NUMBERS) throw new CliError(`${name}: more than ${MAX_NUMBERS} numbers`);
    if (kind === undefined) continue;
    const view = new DataView(file.buffer, file.byteOffset + start + from, to - from);
    tensors.set(key, { shape, values: Float32Array.from({ length: size }, (_, at) => kind.read(view, at * bytes)) });
  }
  return tensors;
}
