/**
 * Reads protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) from bytes that nobody vouches for.
 * A field is a number or a view into the bytes: nothing is copied, and nothing is allocated by a length that was only
 * announced. Messages are not nested here; whoever knows a field to be a message reads its bytes in turn, so the depth is
 * the reader's own.
 */

import { GraphError } from "../graph/error.ts";

export type Field =
  /** A 64-bit two's complement integer, as the nearest float64. */
  | { readonly kind: "integer"; readonly value: number }
  /** Little-endian, 4 or 8 bytes. */
  | { readonly kind: "fixed"; readonly bytes: Uint8Array }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array };

const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
const MAX_VARINT = 10;

/** A position in the bytes; every step forward is checked. */
class Cursor {
  readonly bytes: Uint8Array;
  readonly #what: string;
  at = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.bytes = bytes;
    this.#what = what;
  }

  fail(complaint: string): GraphError {
    return new GraphError("structure", `${this.#what}: at byte ${this.at} of ${this.bytes.length}: ${complaint}`);
  }

  varint(): number {
    let [low, high] = [0, 0];
    for (let index = 0; index < MAX_VARINT; index++) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) throw this.fail("a number is cut off");
      // 28 bits are exact in a 32-bit shift; what lies above is gathered apart.
      if (index < 4) low |= (byte & 127) << (7 * index);
      else high += (byte & 127) * 2 ** (7 * (index - 4));
      if (byte < 128) return high < 2 ** 25 ? high * 2 ** 28 + low : signed(low, high);
    }
    throw this.fail("a number has more than 10 bytes");
  }

  take(length: number): Uint8Array {
    if (length < 0 || length > this.bytes.length - this.at) throw this.fail(`a field of ${length} bytes is cut off`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
}

const signed = (low: number, high: number): number => {
  const value = BigInt.asIntN(64, (BigInt(high) << 28n) | BigInt(low));
  return Number(value);
};

/**
 * Calls `visit` with each field's number and content, in the file's order. Throws GraphError `structure` naming the
 * message and the byte.
 * @param what the message, for errors
 */
export function readFields(bytes: Uint8Array, what: string, visit: (field: number, content: Field) => void): void {
  const cursor = new Cursor(bytes, what);
  while (cursor.at < bytes.length) {
    const key = cursor.varint();
    const [field, wire] = [Math.floor(key / 8), key % 8];
    if (field < 1 || field >= 2 ** 29) throw cursor.fail(`there is no field ${field}`);
    if (wire === WIRE.varint) visit(field, { kind: "integer", value: cursor.varint() });
    else if (wire === WIRE.bytes) visit(field, { kind: "bytes", bytes: cursor.take(cursor.varint()) });
    else if (wire === WIRE.fixed32) visit(field, { kind: "fixed", bytes: cursor.take(4) });
    else if (wire === WIRE.fixed64) visit(field, { kind: "fixed", bytes: cursor.take(8) });
    else throw cursor.fail(`wire type ${wire} is not read`);
  }
}

/** Calls `visit` with each number of a packed field. Throws GraphError `structure`. */
export function readPacked(bytes: Uint8Array, what: string, visit: (value: number) => void): void {
  const cursor = new Cursor(bytes, what);
  while (cursor.at < bytes.length) visit(cursor.varint());
}

/** One character a byte: names in other alphabets look odd and stay distinct. */
export function readText(bytes: Uint8Array, most: number, what: string): string {
  if (bytes.length > most) throw new GraphError("budget", `${what} has ${bytes.length} bytes, the limit is ${most}`);
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
