/** Inputs that are still as they are stored, a byte a value (`Bytes` of engine.ts), as the values that they stand for. */

import type { Bytes, Input, Tensor } from "./engine.ts";

export const isBytes = (input: Input): input is Bytes => "bytes" in input;

/** Values that an input has, whichever way they are written. */
export const lengthOf = (input: Input): number => (isBytes(input) ? input.bytes.length : input.length);

/** Writes the values at the beginning of `into`: looked up in a third of the time that a product takes. */
export function expandBytes({ bytes, scale, offset }: Bytes, into: Float32Array): void {
  const values = Float32Array.from({ length: 256 }, (_, byte) => byte * scale + offset);
  for (let at = 0; at < bytes.length; at++) into[at] = values[bytes[at]];
}

/** The values in an array: of bytes a new one. */
export function valuesOf(input: Input): Tensor {
  if (!isBytes(input)) return input;
  const values = new Float32Array(input.bytes.length);
  expandBytes(input, values);
  return values;
}
