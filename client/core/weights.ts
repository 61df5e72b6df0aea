/**
 * The body of one version of the weights: announced exponents, then the flat float32 weights (see
 * shared/protocol/frames.ts), fetched whole over HTTP or assembled from frames, which may say only what changed since the
 * version before.
 */

import { SparseReader, sparseBytes } from "../../shared/codec/index.ts";
import type { Frame } from "../../shared/protocol/frames.ts";
import { changeLayout, weightsLayout } from "../../shared/protocol/frames.ts";
import type { SessionAddress } from "./address.ts";
import { sessionUrl } from "./address.ts";
import { TrainingError } from "./errors.ts";
import { get, HttpError, mayRetry, pauseAfter } from "./http.ts";
import { changeWeights } from "./kernels.ts";
import type { Platform } from "./platform.ts";
import { sleep } from "./platform.ts";

export interface WeightsSizes {
  readonly blocks: number;
  /** Floats in the flat parameter array. */
  readonly parameters: number;
}

export interface WeightsBody {
  readonly version: number;
  /** Updates done at this version. */
  readonly step: number;
  /** Announced biased exponents, [blocks]. */
  readonly exponents: Uint8Array;
  /** [parameters] */
  readonly weights: Float32Array;
  /** What both are views of. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Views into a whole body. Throws TrainingError `protocol` if its length is not that of this session's weights. */
export function viewWeights(
  sizes: WeightsSizes,
  version: number,
  step: number,
  bytes: Uint8Array<ArrayBuffer>,
): WeightsBody {
  const layout = weightsLayout(sizes.blocks, sizes.parameters);
  if (bytes.byteLength !== layout.total || bytes.byteOffset % 16 !== 0) {
    throw new TrainingError("protocol", `weights of ${bytes.byteLength} bytes, expected ${layout.total}`);
  }
  return {
    version,
    step,
    exponents: bytes.subarray(layout.exponents, layout.exponents + sizes.blocks),
    weights: new Float32Array(bytes.buffer, bytes.byteOffset + layout.weights, sizes.parameters),
    bytes,
  };
}

/** Units that a change may have at most, in either direction. */
const LARGEST_UNITS = 127;
/** Of a change: so many stay in the processor's nearest cache. */
const READ_AT_A_TIME = 1024;

/** Puts frames of kind `weights` together. Buffers that were handed back with `recycle` are used again. */
export class WeightsAssembler {
  readonly #sizes: WeightsSizes;
  readonly #total: number;
  /** Most bytes of a change. */
  readonly #mostChange: number;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  /** What the frames of the present transfer fill: weights, or what changed. */
  #bytes: Uint8Array<ArrayBuffer> | null = null;
  /** Of changes, which are read at once. Used again: whoever announces much and sends little has nothing allocated. */
  #change = new Uint8Array(0);
  /** Of a change, read and not yet applied. */
  readonly #read = { indices: new Int32Array(READ_AT_A_TIME), units: new Int32Array(READ_AT_A_TIME) };
  #codec: Frame["codec"] = "none";
  #received = 0;
  #version = 0;
  #step = 0;

  constructor(sizes: WeightsSizes) {
    this.#sizes = sizes;
    const { blocks, parameters } = sizes;
    this.#total = weightsLayout(blocks, parameters).total;
    this.#mostChange = changeLayout(blocks).units + sparseBytes(parameters, parameters, LARGEST_UNITS).most;
  }

  /**
   * Takes the next frame; returns the body once it is whole. Throws TrainingError `protocol` on a gap or a wrong size.
   * @param latest the newest weights that are here, which a change changes
   */
  add(frame: Frame, latest: WeightsBody | null): WeightsBody | null {
    const { kind, codec, total } = frame;
    if (kind !== "weights" || (codec !== "float32" && codec !== "sparse")) {
      throw new TrainingError("protocol", `unexpected frame ${kind}/${codec} from the coordinator`);
    }
    if (codec === "float32" ? total !== this.#total : total > this.#mostChange) {
      const expected = codec === "float32" ? this.#total : `at most ${this.#mostChange}`;
      throw new TrainingError("protocol", `weights of ${total} bytes announced, expected ${expected}`);
    }
    if (frame.offset === 0) {
      this.#forget();
      this.#codec = codec;
      this.#version = frame.version;
      this.#step = frame.step;
      this.#bytes = codec === "float32" ? this.#buffer() : this.#changeBuffer(total);
    }
    const isNext = frame.offset === this.#received && codec === this.#codec && total === this.#bytes?.byteLength;
    if (!isNext || frame.version !== this.#version || frame.step !== this.#step) {
      const at = `offset ${frame.offset} of version ${frame.version}`;
      throw new TrainingError(
        "protocol",
        `weights frame at ${at}, expected ${this.#received} of version ${this.#version}`,
      );
    }
    this.#bytes?.set(frame.payload, frame.offset);
    this.#received += frame.payload.byteLength;
    if (this.#bytes === null || this.#received < total) return null;
    const bytes = this.#bytes;
    this.#bytes = null;
    this.#received = 0;
    if (codec === "sparse") return this.#changed(frame, bytes, latest);
    return viewWeights(this.#sizes, frame.version, frame.step, bytes);
  }

  /** Forgets a transfer that will not go on: its socket is gone. */
  reset(): void {
    this.#forget();
  }

  #forget(): void {
    if (this.#bytes?.byteLength === this.#total && this.#free.length < 2) this.#free.push(this.#bytes);
    this.#bytes = null;
    this.#received = 0;
  }

  #buffer(): Uint8Array<ArrayBuffer> {
    return this.#free.pop() ?? new Uint8Array(this.#total);
  }

  #changeBuffer(total: number): Uint8Array<ArrayBuffer> {
    if (this.#change.byteLength < total) this.#change = new Uint8Array(Math.min(this.#mostChange, 2 * total));
    return this.#change.subarray(0, total);
  }

  /** The version after the latest one: a copy of it, changed. */
  #changed({ version, step }: Frame, change: Uint8Array<ArrayBuffer>, latest: WeightsBody | null): WeightsBody {
    if (latest?.version !== version - 1) {
      const had = latest === null ? "there are none" : `version ${latest.version} is here`;
      throw new TrainingError("protocol", `what changed in version ${version - 1} of the weights came, ${had}`);
    }
    const { blocks, parameters } = this.#sizes;
    const layout = changeLayout(blocks);
    if (change.byteLength < layout.units) {
      throw new TrainingError("protocol", `a change of ${change.byteLength} bytes, expected ${layout.units} or more`);
    }
    const unit = new DataView(change.buffer).getFloat32(layout.unit, true);
    if (!(unit > 0 && Number.isFinite(unit))) throw new TrainingError("protocol", `changes in units of ${unit}`);
    const body = viewWeights(this.#sizes, version, step, this.#buffer());
    const { weights } = body;
    body.exponents.set(change.subarray(layout.exponents, layout.exponents + blocks));
    const message = change.subarray(layout.units);
    if (changeWeights(message, unit, latest.weights, weights)) return body;
    const { indices, units } = this.#read;
    weights.set(latest.weights);
    const reader = new SparseReader(message, parameters);
    // One rounding to float32, as in the coordinator: a product of at most 7 bits with a power of two is exact.
    for (let count = reader.read(indices, units); count > 0; count = reader.read(indices, units)) {
      for (let at = 0; at < count; at++) weights[indices[at]] += units[at] * unit;
    }
    if (reader.fault !== null) throw new TrainingError("protocol", `what changed in the weights: ${reader.fault}`);
    return body;
  }

  /** Gives a body's buffer back; its views must not be used any more. */
  recycle(body: WeightsBody): void {
    if (this.#free.length < 2 && body.bytes.byteLength === this.#total) this.#free.push(body.bytes);
  }
}

const FETCH_ATTEMPTS = 6;
const LARGEST_NUMBER = 0xffffffff;

/** A header as frames would have it: not a number compares as no version should. Throws TrainingError `protocol`. */
function readNumber(headers: Headers, name: string, otherwise: number): number {
  const text = headers.get(name);
  if (text === null) return otherwise;
  if (/^\d{1,10}$/.test(text) && Number(text) <= LARGEST_NUMBER) return Number(text);
  throw new TrainingError("protocol", `${name} is "${text}", expected a whole number up to ${LARGEST_NUMBER}`);
}

export interface WeightsRequest {
  readonly version: number;
  /** Used if the answer does not name its step. */
  readonly step: number;
  readonly sizes: WeightsSizes;
}

/**
 * Fetches a version of the weights, or the latest ones where the coordinator no longer holds that version. Throws
 * TrainingError `protocol` for an unusable answer, HttpError when the attempts are used up, also on an abort.
 */
export async function fetchWeights(
  platform: Platform,
  address: SessionAddress,
  { version, step, sizes }: WeightsRequest,
  signal: AbortSignal,
): Promise<WeightsBody> {
  const { total } = weightsLayout(sizes.blocks, sizes.parameters);
  let wanted = String(version);
  for (let attempt = 0; ; attempt++) {
    try {
      const { headers, body } = await get(platform, sessionUrl(address, `weights/${wanted}`), total, signal);
      const answered = readNumber(headers, "x-commonweight-version", version);
      return viewWeights(sizes, answered, readNumber(headers, "x-commonweight-step", step), body);
    } catch (error) {
      if (!(error instanceof HttpError) || attempt >= FETCH_ATTEMPTS || signal.aborted) throw error;
      if (error.status === 404 && wanted !== "latest") {
        wanted = "latest";
        continue;
      }
      if (!mayRetry(error)) throw error;
      await sleep(platform, pauseAfter(error, attempt, platform.random()), signal);
    }
  }
}
