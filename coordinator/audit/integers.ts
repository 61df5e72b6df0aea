/** The integers of a contribution as they are read once, in order, a few thousand at a time: nothing holds all of them a second time. */

import {
  CODECS,
  GROUP,
  type GradientCodec,
  packedWidthsBytes,
  packedWordsBytes,
  unpack,
} from "../../shared/codec/index.ts";
import { PieceReader } from "../optim/pieces.ts";

/** Integers that are read at a time: a multiple of 16 groups, so that their widths stay aligned. */
const WINDOW = 64 * GROUP;

/** Runs of integers in the order of the parameters, each valid until the next one. Throws RangeError for sums that are sparse. */
export function* integersOf(
  pieces: readonly Uint8Array[],
  codec: GradientCodec,
  parameters: number,
): Generator<Int32Array> {
  const { frame } = CODECS[codec];
  const reader = new PieceReader(pieces);
  const values = new Int32Array(Math.min(WINDOW, parameters));
  switch (frame) {
    case "fixed32":
      yield* fixed(reader, parameters, values, values);
      break;
    case "fixed16":
      yield* fixed(reader, parameters, new Int16Array(values.length), values);
      break;
    case "packed":
      yield* packed(reader, parameters, values);
      break;
    case "sparse":
      throw new RangeError("what a client sends of its largest sums depends on what it left out before");
    default:
      frame satisfies never;
  }
}

function* fixed(
  reader: PieceReader,
  parameters: number,
  incoming: Int32Array | Int16Array,
  values: Int32Array,
): Generator<Int32Array> {
  for (let at = 0; at < parameters; at += WINDOW) {
    const count = Math.min(WINDOW, parameters - at);
    reader.fill(new Uint8Array(incoming.buffer, incoming.byteOffset, count * incoming.BYTES_PER_ELEMENT));
    const run = values.subarray(0, count);
    if (incoming !== values) run.set(incoming.subarray(0, count));
    yield run;
  }
}

function* packed(reader: PieceReader, parameters: number, values: Int32Array): Generator<Int32Array> {
  const widths = new Uint8Array(packedWidthsBytes(parameters));
  reader.fill(widths);
  for (let at = 0; at < parameters; at += WINDOW) {
    const count = Math.min(WINDOW, parameters - at);
    const own = widths.subarray(at / GROUP, at / GROUP + Math.ceil(count / GROUP));
    const start = packedWidthsBytes(count);
    const window = new Uint8Array(start + packedWordsBytes(own, count));
    window.set(own);
    reader.fill(window.subarray(start));
    const run = values.subarray(0, count);
    unpack(window, run);
    yield run;
  }
}
