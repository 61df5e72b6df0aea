/**
 * Tensor frames: a fixed little-endian header of 64 bytes and a raw payload of at most 1 MiB less the header.
 *
 * A transfer's body may be larger than a frame: it is cut into chunks sent in order, each frame carrying its offset and
 * the body's length. Bodies (sections padded to 16 bytes, so that every section is aligned):
 *
 *   weights      down  [announced exponents: u8 × blocks][weights: f32 × parameters], codec float32
 *   weights      down  [announced exponents][unit: f32][units by which the version before changes, sparse], codec sparse
 *   gradient     up    [metrics: i64 × count][largest exponents: u8 × blocks][squares: bfloat16 × count][sums as their codec has them]
 *   calibration  up    [metrics][largest exponents]
 *   evaluation   up    [metrics]
 */

export const PROTOCOL_VERSION = 1;
export const FRAME_MAGIC = 0x31545743; // "CWT1"
export const HEADER_BYTES = 64;
export const MAX_FRAME_BYTES = 1 << 20;
export const MAX_PAYLOAD_BYTES = MAX_FRAME_BYTES - HEADER_BYTES;

export const FRAME_KINDS = { weights: 1, gradient: 2, calibration: 3, evaluation: 4 } as const;
export const FRAME_CODECS = { none: 0, float32: 1, fixed32: 2, fixed16: 3, packed: 4, sparse: 5 } as const;

export type FrameKind = keyof typeof FRAME_KINDS;
export type FrameCodec = keyof typeof FRAME_CODECS;

export interface FrameHeader {
  readonly kind: FrameKind;
  readonly codec: FrameCodec;
  /** Weights that this frame carries or was computed at. */
  readonly version: number;
  /** Updates done when the work was assigned. */
  readonly step: number;
  /** Lease that this answers; 0 downwards. */
  readonly lease: number;
  /** Values clamped to the grid. */
  readonly clamped: number;
  /** Units of 2⁻²⁴. */
  readonly loss: bigint;
  readonly weight: bigint;
  /** Offset of this payload in the body, and the body's length, in bytes. */
  readonly offset: number;
  readonly total: number;
}

export interface Frame extends FrameHeader {
  /** View into the received buffer. */
  readonly payload: Uint8Array;
}

export type FrameErrorCode = "frame-size" | "frame-magic" | "frame-version" | "frame-kind" | "frame-range";

export class FrameError extends Error {
  readonly code: FrameErrorCode;
  constructor(code: FrameErrorCode, message: string) {
    super(message);
    this.name = "FrameError";
    this.code = code;
  }
}

function nameOf<Table extends Record<string, number>>(table: Table, value: number, what: string): keyof Table {
  for (const name in table) if (table[name] === value) return name;
  throw new FrameError("frame-kind", `unknown frame ${what} ${value}`);
}

/** Writes a header for a payload of so many bytes. Throws RangeError if they are over the limit: callers cut bodies. */
export function writeHeader(view: DataView, header: FrameHeader, payloadBytes: number): void {
  if (payloadBytes > MAX_PAYLOAD_BYTES) {
    throw new RangeError(`payload of ${payloadBytes} bytes exceeds ${MAX_PAYLOAD_BYTES}`);
  }
  view.setUint32(0, FRAME_MAGIC, true);
  view.setUint16(4, PROTOCOL_VERSION, true);
  view.setUint8(6, FRAME_KINDS[header.kind]);
  view.setUint8(7, FRAME_CODECS[header.codec]);
  view.setUint32(8, header.version, true);
  view.setUint32(12, header.step, true);
  view.setUint32(16, header.lease, true);
  view.setUint32(20, header.clamped, true);
  view.setBigInt64(24, header.loss, true);
  view.setBigInt64(32, header.weight, true);
  view.setUint32(40, header.offset, true);
  view.setUint32(44, header.total, true);
  view.setUint32(48, payloadBytes, true);
}

/** Encodes one frame. Throws RangeError if the payload is over the limit: callers cut bodies with `cutBody`. */
export function encodeFrame(header: FrameHeader, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_BYTES + payload.byteLength);
  writeHeader(new DataView(bytes.buffer), header, payload.byteLength);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** Reads one frame; every length is checked before use. Throws FrameError. */
export function decodeFrame(buffer: ArrayBuffer): Frame {
  if (buffer.byteLength < HEADER_BYTES || buffer.byteLength > MAX_FRAME_BYTES) {
    throw new FrameError(
      "frame-size",
      `a frame has ${HEADER_BYTES} to ${MAX_FRAME_BYTES} bytes, this one has ${buffer.byteLength}`,
    );
  }
  const view = new DataView(buffer);
  if (view.getUint32(0, true) !== FRAME_MAGIC) throw new FrameError("frame-magic", "not a tensor frame");
  const protocol = view.getUint16(4, true);
  if (protocol !== PROTOCOL_VERSION) {
    throw new FrameError("frame-version", `frame of protocol ${protocol}, expected ${PROTOCOL_VERSION}`);
  }
  const payloadBytes = view.getUint32(48, true);
  const offset = view.getUint32(40, true);
  const total = view.getUint32(44, true);
  if (payloadBytes !== buffer.byteLength - HEADER_BYTES) {
    throw new FrameError(
      "frame-size",
      `header says ${payloadBytes} payload bytes, ${buffer.byteLength - HEADER_BYTES} came`,
    );
  }
  if (offset + payloadBytes > total) {
    throw new FrameError("frame-range", `payload ends at ${offset + payloadBytes}, past the body's ${total} bytes`);
  }
  return {
    kind: nameOf(FRAME_KINDS, view.getUint8(6), "kind"),
    codec: nameOf(FRAME_CODECS, view.getUint8(7), "codec"),
    version: view.getUint32(8, true),
    step: view.getUint32(12, true),
    lease: view.getUint32(16, true),
    clamped: view.getUint32(20, true),
    loss: view.getBigInt64(24, true),
    weight: view.getBigInt64(32, true),
    offset,
    total,
    payload: new Uint8Array(buffer, HEADER_BYTES, payloadBytes),
  };
}

/** Cuts a body into frames, in order; an empty body is one empty frame. */
export function* cutBody(
  header: Omit<FrameHeader, "offset" | "total">,
  body: Uint8Array,
): Generator<Uint8Array<ArrayBuffer>> {
  const total = body.byteLength;
  for (let offset = 0; offset === 0 || offset < total; offset += MAX_PAYLOAD_BYTES) {
    yield encodeFrame({ ...header, offset, total }, body.subarray(offset, offset + MAX_PAYLOAD_BYTES));
  }
}

/** Sections start at multiples of 16 bytes. */
const align16 = (bytes: number): number => Math.ceil(bytes / 16) * 16;

/** Byte offsets of the sections of an upward body; the sums of a gradient go on to its end. */
export function upwardLayout(
  kind: "gradient" | "calibration" | "evaluation",
  sizes: { readonly metrics: number; readonly blocks: number; readonly squares?: number },
): { readonly metrics: number; readonly maxima: number; readonly squares: number; readonly sums: number } {
  const maxima = align16(sizes.metrics * 8);
  const squares = maxima + (kind === "evaluation" ? 0 : align16(sizes.blocks));
  return { metrics: 0, maxima, squares, sums: squares + (kind === "gradient" ? align16((sizes.squares ?? 0) * 2) : 0) };
}

/** Byte offsets of the sections of a weights body that says what changed; the units go on to its end. */
export function changeLayout(blocks: number): { exponents: number; unit: number; units: number } {
  const unit = align16(blocks);
  return { exponents: 0, unit, units: unit + 16 };
}

/** Byte offsets of the sections of a weights body, and its length. */
export function weightsLayout(
  blocks: number,
  parameters: number,
): { exponents: number; weights: number; total: number } {
  const weights = align16(blocks);
  return { exponents: 0, weights, total: weights + parameters * 4 };
}
