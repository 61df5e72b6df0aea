/**
 * Writes TensorBoard's event files. A file is a TFRecord: each record has its length (u64), the masked CRC-32C of the length,
 * the data, and the masked CRC-32C of the data, all little-endian. The data are `Event` messages in protobuf:
 *
 *     Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
 *     Summary { repeated Value value = 1; }   Value { string tag = 1; float simple_value = 2; }
 *
 * https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
 * https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
 */

import { crc32c } from "./crc32c.ts";
import { plain } from "./foreign-text.ts";
import type { Measurement } from "./metric-files.ts";

const MASK = 0xa282ead8;

/** The mask keeps a checksum from being taken for one of data that hold checksums. */
const maskedCrc = (bytes: Uint8Array): number => {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + MASK) >>> 0;
};

function record(data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(bytes.subarray(0, 8)), true);
  bytes.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return bytes;
}

/** Little-endian groups of seven bits. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}

/** Fields of a message by protobuf's wire types: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes. */
const field = {
  integer: (number: number, value: number): Uint8Array => Uint8Array.from([number * 8, ...varint(value)]),
  double: (number: number, value: number): Uint8Array =>
    Buffer.concat([Uint8Array.of(number * 8 + 1), new Uint8Array(Float64Array.of(value).buffer)]),
  bytes: (number: number, value: Uint8Array): Uint8Array =>
    Buffer.concat([Uint8Array.from([number * 8 + 2, ...varint(value.length)]), value]),
  text: (number: number, value: string): Uint8Array => field.bytes(number, new TextEncoder().encode(value)),
  float: (number: number, value: number): Uint8Array =>
    Buffer.concat([Uint8Array.of(number * 8 + 5), new Uint8Array(Float32Array.of(value).buffer)]),
} as const;

/** Scalars of one measurement: `loss/train`, `correct/validation`, `lr/train`, … */
function scalars({ split, loss, metrics, lr }: Measurement): [tag: string, value: number][] {
  const named = Object.entries({ loss, ...metrics, lr }).filter(
    (entry): entry is [string, number] => entry[1] !== null,
  );
  return named.map(([name, value]) => [`${plain(name)}/${split}`, value]);
}

function encodeEvent(measurement: Measurement): Uint8Array {
  const values = scalars(measurement).map(([tag, value]) =>
    field.bytes(1, Buffer.concat([field.text(1, tag), field.float(2, value)])),
  );
  return Buffer.concat([
    field.double(1, measurement.time / 1000), // seconds
    field.integer(2, measurement.step),
    field.bytes(5, Buffer.concat(values)),
  ]);
}

/** When the record begins, in milliseconds. */
const beginning = (measurements: readonly Measurement[]): number => measurements[0]?.time ?? 0;

/** The same for the same session: exported again, it replaces its file instead of doubling the curves. */
export function eventFileName(measurements: readonly Measurement[], id: string): string {
  const seconds = String(Math.floor(beginning(measurements) / 1000)).padStart(10, "0");
  return `events.out.tfevents.${seconds}.commonweight-${id.slice(0, 8)}`;
}

export function encodeEvents(measurements: readonly Measurement[]): Uint8Array {
  const head = [field.double(1, beginning(measurements) / 1000), field.text(3, "brain.Event:2")];
  return Buffer.concat([record(Buffer.concat(head)), ...measurements.map((one) => record(encodeEvent(one)))]);
}
