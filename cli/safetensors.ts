/**
 * Writes safetensors (https://github.com/huggingface/safetensors): the header's length as u64, a JSON header of names,
 * types, shapes and byte ranges, then the tensors. Names are the model's `state_dict` names, so PyTorch loads it as it is.
 */

import type { Graph } from "../shared/graph/ir.ts";

const sizeOf = (shape: readonly number[]): number => shape.reduce((size, dimension) => size * dimension, 1);

/** @param weights flat parameter array; padding is left out */
export function encodeSafetensors(
  graph: Graph,
  weights: Float32Array,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  const parts: Uint8Array[] = [];
  let end = 0;
  for (const { name, aliases = [], shape, offset } of graph.parameters) {
    const values = weights.slice(offset, offset + sizeOf(shape));
    for (const tensor of [name, ...aliases]) {
      header[tensor] = { dtype: "F32", shape, data_offsets: [end, end + values.byteLength] };
      parts.push(new Uint8Array(values.buffer));
      end += values.byteLength;
    }
  }
  const json = JSON.stringify(header);
  // Spaces up to a multiple of 8 keep the tensors aligned.
  const text = new TextEncoder().encode(json.padEnd(Math.ceil(Buffer.byteLength(json) / 8) * 8));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.byteLength), true);
  return Buffer.concat([length, text, ...parts]);
}
