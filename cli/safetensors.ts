/**
 * Writes safetensors (shared/safetensors.ts). Names are the model's `state_dict` names, so PyTorch loads it as it is.
 */

import type { Graph } from "../shared/graph/ir.ts";
import { formatHeader, LENGTH_BYTES, type NewTensor } from "../shared/safetensors.ts";

const sizeOf = (shape: readonly number[]): number => shape.reduce((size, dimension) => size * dimension, 1);

/** A whole file of a header's text and the tensors' bytes, in order. */
export function assembleFile(header: string, parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const start = LENGTH_BYTES + header.length;
  const file = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, start));
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  new TextEncoder().encodeInto(header, file.subarray(LENGTH_BYTES));
  let end = start;
  for (const part of parts) {
    file.set(part, end);
    end += part.byteLength;
  }
  return file;
}

/** @param weights flat parameter array; padding is left out */
export function encodeSafetensors(
  graph: Graph,
  weights: Float32Array,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const tensors: NewTensor[] = [];
  const parts: Uint8Array[] = [];
  for (const { name, aliases = [], shape, offset } of graph.parameters) {
    const values = weights.slice(offset, offset + sizeOf(shape));
    for (const tensor of [name, ...aliases]) {
      tensors.push({ name: tensor, dtype: "F32", shape, bytes: values.byteLength });
      parts.push(new Uint8Array(values.buffer));
    }
  }
  return assembleFile(formatHeader(tensors, metadata), parts);
}
