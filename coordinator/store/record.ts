/** A step's record as bytes: a head with everything but the sums, which are stored as they are in pieces of their own. */

import { BLOCK } from "../../shared/codec/index.ts";
import type { StepRecord } from "../optim/shard.ts";

const CODECS: readonly StepRecord["codec"][] = ["fixed32", "fixed16", "packed"];
/** Bytes of one sum; packed ones take as many as they need. */
const SUM_BYTES = { fixed32: 4, fixed16: 2, packed: null } as const satisfies Record<
  StepRecord["codec"],
  number | null
>;
const FIXED_BYTES = 32;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * Little-endian: step u32, codec u32, weight i64, bytes of sums u32, blocks u32, scalars u32, kernels' name u32; then the
 * scalars f32, the name, announced and seen exponents u8 × blocks each.
 */
export function encodeRecordHead(record: StepRecord): Uint8Array<ArrayBuffer> {
  const { scalars, announced, maxima } = record;
  const name = encoder.encode(record.kernels);
  const head = new Uint8Array(
    FIXED_BYTES + scalars.byteLength + name.byteLength + announced.byteLength + maxima.byteLength,
  );
  const view = new DataView(head.buffer);
  view.setUint32(0, record.step, true);
  view.setUint32(4, CODECS.indexOf(record.codec), true);
  view.setBigInt64(8, record.weight, true);
  view.setUint32(16, record.sums.byteLength, true);
  view.setUint32(20, announced.byteLength, true);
  view.setUint32(24, scalars.length, true);
  view.setUint32(28, name.byteLength, true);
  let offset = FIXED_BYTES;
  for (const bytes of [
    new Uint8Array(scalars.buffer, scalars.byteOffset, scalars.byteLength),
    name,
    announced,
    maxima,
  ]) {
    head.set(bytes, offset);
    offset += bytes.byteLength;
  }
  return head;
}

/** Reads a head and its sums back. Throws if they do not fit together: the database is damaged. */
export function decodeRecord([first, ...pieces]: readonly ArrayBuffer[]): StepRecord {
  if (first === undefined || first.byteLength < FIXED_BYTES) throw new Error("a logged step has no head");
  const view = new DataView(first);
  const codec = CODECS[view.getUint32(4, true)];
  const [sumsBytes, blocks, scalarCount, nameBytes] = [16, 20, 24, 28].map((at) => view.getUint32(at, true));
  if (codec === undefined || first.byteLength !== FIXED_BYTES + scalarCount * 4 + nameBytes + 2 * blocks) {
    throw new Error(`the head of logged step ${view.getUint32(0, true)} is damaged`);
  }
  const sums = new Uint8Array(sumsBytes);
  let end = 0;
  for (const piece of pieces) {
    sums.set(new Uint8Array(piece), end);
    end += piece.byteLength;
  }
  const size = SUM_BYTES[codec];
  if (end !== sumsBytes || (size !== null && Math.ceil(sumsBytes / size / BLOCK) !== blocks)) {
    throw new Error(`logged step ${view.getUint32(0, true)} has ${end} bytes of sums, expected ${sumsBytes}`);
  }
  const scalarsAt = FIXED_BYTES;
  const nameAt = scalarsAt + scalarCount * 4;
  const announcedAt = nameAt + nameBytes;
  const part = (from: number, length: number): Uint8Array<ArrayBuffer> =>
    new Uint8Array(first.slice(from, from + length));
  return {
    step: view.getUint32(0, true),
    codec,
    sums,
    announced: part(announcedAt, blocks),
    maxima: part(announcedAt + blocks, blocks),
    weight: view.getBigInt64(8, true),
    scalars: new Float32Array(first.slice(scalarsAt, nameAt)),
    kernels: decoder.decode(part(nameAt, nameBytes)),
  };
}
