/** ONNX's TensorProto as numbers, and what is known while a graph is read: constants. */

import { GraphError } from "../graph/error.ts";
import { sizeOf } from "../graph/tensor.ts";
import { type Field, readFields, readPacked, readText } from "./protobuf.ts";

/** A value that is known before anything is computed. int64 is held as float64; booleans are 0 and 1. Row-major. */
export interface Constant {
  readonly dtype: "float" | "int" | "bool";
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export interface NamedConstant extends Constant {
  readonly name: string;
}

export const MAX_NAME = 512;
export const MAX_RANK = 8;
/** Numbers of all tensors of a file: a session has at most 3 million parameters. */
export const MAX_NUMBERS = 8_000_000;

/** How many numbers a file may still hold. */
export interface Allowance {
  numbers: number;
}

interface Element {
  readonly dtype: Constant["dtype"];
  /** Of `raw_data`. */
  readonly bytes: number;
  readonly read: (view: DataView, at: number) => number;
  /** Field of TensorProto that holds the numbers where `raw_data` does not; packed fixed-width or packed varints. */
  readonly field: number;
  readonly fromInteger?: (value: number) => number;
}

const halfBits = new DataView(new ArrayBuffer(4));

/** IEEE 754 binary16 by its bits. */
function half(bits: number): number {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

function brain(bits: number): number {
  halfBits.setUint32(0, (bits & 0xffff) << 16);
  return halfBits.getFloat32(0);
}

/** By TensorProto.DataType. https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3 */
const ELEMENTS: Readonly<Record<number, Element>> = {
  1: { dtype: "float", bytes: 4, read: (view, at) => view.getFloat32(at, true), field: 4 },
  2: { dtype: "int", bytes: 1, read: (view, at) => view.getUint8(at), field: 5 },
  3: { dtype: "int", bytes: 1, read: (view, at) => view.getInt8(at), field: 5 },
  4: { dtype: "int", bytes: 2, read: (view, at) => view.getUint16(at, true), field: 5 },
  5: { dtype: "int", bytes: 2, read: (view, at) => view.getInt16(at, true), field: 5 },
  6: { dtype: "int", bytes: 4, read: (view, at) => view.getInt32(at, true), field: 5 },
  7: { dtype: "int", bytes: 8, read: (view, at) => Number(view.getBigInt64(at, true)), field: 7 },
  9: { dtype: "bool", bytes: 1, read: (view, at) => (view.getUint8(at) === 0 ? 0 : 1), field: 5 },
  10: {
    dtype: "float",
    bytes: 2,
    read: (view, at) => half(view.getUint16(at, true)),
    field: 5,
    fromInteger: half,
  },
  11: { dtype: "float", bytes: 8, read: (view, at) => view.getFloat64(at, true), field: 10 },
  12: { dtype: "int", bytes: 4, read: (view, at) => view.getUint32(at, true), field: 11 },
  13: { dtype: "int", bytes: 8, read: (view, at) => Number(view.getBigUint64(at, true)), field: 11 },
  16: {
    dtype: "float",
    bytes: 2,
    read: (view, at) => brain(view.getUint16(at, true)),
    field: 5,
    fromInteger: brain,
  },
};

/** Type of a TensorProto.DataType as constants have it, or null for what is not read. */
export const dtypeOf = (type: number): Constant["dtype"] | null => ELEMENTS[type]?.dtype ?? null;

const EXTERNAL = 1;

/** A dimension list's numbers; rank and size are bounded before anything is made of them. */
function addDimensions(dims: number[], { kind, ...content }: Field, what: string): void {
  const add = (size: number): void => {
    if (!Number.isSafeInteger(size) || size < 0 || dims.length >= MAX_RANK) {
      throw new GraphError("structure", `${what}: its shape is not at most ${MAX_RANK} sizes of 0 and more`);
    }
    dims.push(size);
  };
  if (kind === "integer" && "value" in content) add(content.value);
  else if (kind === "bytes" && "bytes" in content) readPacked(content.bytes, what, add);
}

function append<T>(list: T[], item: T, what: string): void {
  if (list.length >= MAX_NUMBERS)
    throw new GraphError("budget", `${what}: its numbers are in over ${MAX_NUMBERS} pieces`);
  list.push(item);
}

/** Fixed-width numbers that lie in one piece or in several. */
function readFixed(segments: readonly Uint8Array[], { bytes, read }: Element, data: Float64Array): void {
  let next = 0;
  for (const segment of segments) {
    const view = new DataView(segment.buffer, segment.byteOffset, segment.byteLength);
    for (let at = 0; at + bytes <= segment.byteLength; at += bytes) data[next++] = read(view, at);
  }
}

/** Throws GraphError: `structure` for what does not fit together, `budget` for what is too much. */
export function parseTensor(bytes: Uint8Array, what: string, allowance: Allowance): NamedConstant {
  const dims: number[] = [];
  /** Segments of numbers by field; single numbers of unpacked fields. */
  const segments = new Map<number, Uint8Array[]>();
  const singles: number[] = [];
  let [type, name, raw] = [0, "", null as Uint8Array | null];
  readFields(bytes, what, (field, content) => {
    if (field === 1) addDimensions(dims, content, what);
    else if (field === 2 && content.kind === "integer") type = content.value;
    else if (field === 8 && content.kind === "bytes") name = readText(content.bytes, MAX_NAME, `${what}: its name`);
    else if (field === 9 && content.kind === "bytes") raw = content.bytes;
    else if (field === 13 || (field === 14 && content.kind === "integer" && content.value === EXTERNAL)) {
      throw new GraphError("structure", `${what}: its numbers are in another file; save the model as one file`);
    } else if (content.kind === "integer") {
      if (field === 5 || field === 7 || field === 11) append(singles, content.value, what);
    } else {
      const held = segments.get(field) ?? [];
      append(held, content.bytes, what);
      segments.set(field, held);
    }
  });
  const where = name === "" ? what : `${what} ${name}`;
  const element = ELEMENTS[type];
  if (element === undefined) throw new GraphError("structure", `${where}: element type ${type} is not read`);
  const count = sizeOf(dims);
  if (count > allowance.numbers) {
    throw new GraphError("budget", `${where}: [${dims.join(", ")}] is more than ${MAX_NUMBERS} numbers in the file`);
  }
  allowance.numbers -= count;
  return {
    name,
    dtype: element.dtype,
    shape: dims,
    data: numbersOf(count, element, { raw, segments, singles }, where),
  };
}

interface Stored {
  readonly raw: Uint8Array | null;
  readonly segments: ReadonlyMap<number, readonly Uint8Array[]>;
  readonly singles: readonly number[];
}

/** Exactly `count` numbers: whether the bytes are that many is known before room is made for them. */
function numbersOf(count: number, element: Element, { raw, segments, singles }: Stored, where: string): Float64Array {
  const complain = (came: string): GraphError =>
    new GraphError("structure", `${where}: expected ${count} numbers, ${came} came`);
  const held = segments.get(element.field) ?? [];
  const length = held.reduce((sum, segment) => sum + segment.byteLength, 0);
  const isFixed = element.field === 4 || element.field === 10;
  if (raw !== null || isFixed) {
    const parts = raw === null ? held : [raw];
    const total = raw === null ? length : raw.byteLength;
    if (total !== count * element.bytes) throw complain(`${total} bytes of ${element.bytes} a number`);
    const data = new Float64Array(count);
    readFixed(parts, element, data);
    return data;
  }
  if (singles.length + length < count) throw complain(`${singles.length + length} bytes`);
  const data = new Float64Array(count);
  let next = 0;
  const { fromInteger = (value: number) => value } = element;
  const add = (value: number): void => {
    if (next >= count) throw complain("more");
    data[next++] = fromInteger(value);
  };
  for (const value of singles) add(value);
  for (const segment of held) readPacked(segment, where, add);
  if (next !== count) throw complain(String(next));
  return data;
}
