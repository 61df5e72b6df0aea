/**
 * Reads NPY, NumPy's file of one array (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), and turns
 * its numbers into a type that data sets hold. Nothing in such a file is ever run: arrays of Python objects are refused.
 */

import type { ColumnSpec } from "../../shared/session/definition.ts";
import { CliError } from "../errors.ts";

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // \x93NUMPY
const MAX_HEADER = 65_536;
const MAX_RANK = 8;
const MAX_VALUES = 2_000_000_000;

export interface NpyArray {
  /** Of the whole array; the first dimension counts samples. */
  readonly shape: readonly number[];
  readonly dtype: ColumnSpec["dtype"];
  /** Little-endian. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

interface Kind {
  readonly bytes: number;
  readonly to: ColumnSpec["dtype"];
  readonly read: (view: DataView, at: number, isLittle: boolean) => number | bigint;
}

/** By NumPy's letter and size. */
const KINDS: Readonly<Record<string, Kind>> = {
  b1: { bytes: 1, to: "uint8", read: (view, at) => (view.getUint8(at) === 0 ? 0 : 1) },
  u1: { bytes: 1, to: "uint8", read: (view, at) => view.getUint8(at) },
  i1: { bytes: 1, to: "int32", read: (view, at) => view.getInt8(at) },
  u2: { bytes: 2, to: "int32", read: (view, at, isLittle) => view.getUint16(at, isLittle) },
  i2: { bytes: 2, to: "int32", read: (view, at, isLittle) => view.getInt16(at, isLittle) },
  u4: { bytes: 4, to: "int32", read: (view, at, isLittle) => view.getUint32(at, isLittle) },
  i4: { bytes: 4, to: "int32", read: (view, at, isLittle) => view.getInt32(at, isLittle) },
  u8: { bytes: 8, to: "int32", read: (view, at, isLittle) => view.getBigUint64(at, isLittle) },
  i8: { bytes: 8, to: "int32", read: (view, at, isLittle) => view.getBigInt64(at, isLittle) },
  f4: { bytes: 4, to: "float32", read: (view, at, isLittle) => view.getFloat32(at, isLittle) },
  f8: { bytes: 8, to: "float32", read: (view, at, isLittle) => view.getFloat64(at, isLittle) },
};

interface Header {
  readonly kind: Kind;
  readonly isLittle: boolean;
  readonly shape: readonly number[];
  /** Where the numbers begin. */
  readonly offset: number;
}

/** The header is the text of a Python dictionary; only what NumPy writes is understood. */
function parseHeader(file: Uint8Array, name: string): Header {
  if (file.length < 12 || MAGIC.some((byte, at) => file[at] !== byte)) throw new CliError(`${name} is not an NPY file`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const version = file[6];
  if (version < 1 || version > 3) throw new CliError(`${name}: NPY version ${version}, known are 1 to 3`);
  const [length, start] = version === 1 ? [view.getUint16(8, true), 10] : [view.getUint32(8, true), 12];
  const offset = start + length;
  if (length > MAX_HEADER || offset > file.length) {
    throw new CliError(`${name}: at byte 8: a header of ${length} bytes; the file has ${file.length}`);
  }
  const text = new TextDecoder().decode(file.subarray(start, offset));
  const descr = /'descr':\s*'([<>|=]?)([a-zA-Z]\d*)'/.exec(text);
  const order = /'fortran_order':\s*(True|False)/.exec(text)?.[1];
  const sizes = /'shape':\s*\(([\d,\s]*)\)/.exec(text)?.[1];
  if (order === undefined || sizes === undefined) throw new CliError(`${name}: at byte ${start}: no NPY header`);
  const kind = descr === null ? undefined : KINDS[descr[2]];
  if (descr === null || kind === undefined) {
    const type = /'descr':\s*(\[|'[^']{0,20}')/.exec(text)?.[1].replace("[", "of records") ?? "unknown";
    throw new CliError(
      `${name}: its type is ${type}; readable are ${Object.keys(KINDS).join(", ")}: convert it with astype, such as a.astype("float32")`,
    );
  }
  const shape = sizes
    .split(",")
    .filter((size) => size.trim() !== "")
    .map(Number);
  if (shape.length === 0) throw new CliError(`${name} holds a single number: the first dimension must count samples`);
  if (shape.length > MAX_RANK) throw new CliError(`${name}: ${shape.length} dimensions, the limit is ${MAX_RANK}`);
  if (order === "True" && shape.length > 1) {
    throw new CliError(`${name} is in Fortran order: save numpy.ascontiguousarray(a) instead`);
  }
  return { kind, isLittle: descr[1] !== ">", shape, offset };
}

/** Throws CliError at the first value that the type of the data set cannot hold. */
function check(value: number, to: ColumnSpec["dtype"], name: string, index: number): number {
  if (to === "int32" && (value | 0) !== value) {
    throw new CliError(`${name}: value ${index} is ${value}, and int32 holds −2147483648 to 2147483647`);
  }
  if (to === "float32" && !Number.isFinite(Math.fround(value))) {
    const why = Number.isFinite(value) ? "float32 cannot hold it" : "nothing can be learnt from it";
    throw new CliError(`${name}: value ${index} is ${value}: ${why}`);
  }
  return value;
}

const ARRAYS = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array } as const;

/** Throws CliError naming the file and what is wrong with it. */
export function parseNpy(file: Uint8Array, name: string): NpyArray {
  const { kind, isLittle, shape, offset } = parseHeader(file, name);
  const count = shape.reduce((size, dimension) => size * dimension, 1);
  const held = file.length - offset;
  if (count > MAX_VALUES || count * kind.bytes !== held) {
    throw new CliError(`${name}: ${shape.join(" × ")} needs ${count * kind.bytes} bytes, the file has ${held}`);
  }
  const view = new DataView(file.buffer, file.byteOffset + offset, held);
  const values = new ARRAYS[kind.to](count);
  for (let index = 0; index < count; index++) {
    values[index] = check(Number(kind.read(view, index * kind.bytes, isLittle)), kind.to, name, index);
  }
  return { shape, dtype: kind.to, bytes: new Uint8Array(values.buffer) };
}
