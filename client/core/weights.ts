/**
 * The body of one version of the weights: announced exponents, then the flat float32 weights (see
 * shared/protocol/frames.ts), fetched whole over HTTP or assembled from frames.
 */

import type { Frame } from "../../shared/protocol/frames.ts";
import { weightsLayout } from "../../shared/protocol/frames.ts";
import type { SessionAddress } from "./address.ts";
import { sessionUrl } from "./address.ts";
import { backoffDelay } from "./backoff.ts";
import { TrainingError } from "./errors.ts";
import { get, HttpError, mayRetry } from "./http.ts";
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

/** Puts frames of kind `weights` together. Buffers that were handed back with `recycle` are used again. */
export class WeightsAssembler {
  readonly #sizes: WeightsSizes;
  readonly #total: number;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  #bytes: Uint8Array<ArrayBuffer> | null = null;
  #received = 0;
  #version = 0;
  #step = 0;

  constructor(sizes: WeightsSizes) {
    this.#sizes = sizes;
    this.#total = weightsLayout(sizes.blocks, sizes.parameters).total;
  }

  /** Takes the next frame; returns the body once it is whole. Throws TrainingError `protocol` on a gap or a wrong size. */
  add(frame: Frame): WeightsBody | null {
    if (frame.kind !== "weights" || frame.codec !== "float32") {
      throw new TrainingError("protocol", `unexpected frame ${frame.kind}/${frame.codec} from the coordinator`);
    }
    if (frame.total !== this.#total) {
      throw new TrainingError("protocol", `weights of ${frame.total} bytes announced, expected ${this.#total}`);
    }
    if (frame.offset === 0) {
      this.#received = 0;
      this.#version = frame.version;
      this.#step = frame.step;
    }
    if (frame.offset !== this.#received || frame.version !== this.#version || frame.step !== this.#step) {
      const at = `offset ${frame.offset} of version ${frame.version}`;
      throw new TrainingError(
        "protocol",
        `weights frame at ${at}, expected ${this.#received} of version ${this.#version}`,
      );
    }
    this.#bytes ??= this.#free.pop() ?? new Uint8Array(this.#total);
    this.#bytes.set(frame.payload, frame.offset);
    this.#received += frame.payload.byteLength;
    if (this.#received < this.#total) return null;
    const bytes = this.#bytes;
    this.#bytes = null;
    this.#received = 0;
    return viewWeights(this.#sizes, frame.version, frame.step, bytes);
  }

  /** Forgets a transfer that will not go on: its socket is gone. */
  reset(): void {
    this.#received = 0;
  }

  /** Gives a body's buffer back; its views must not be used any more. */
  recycle(body: WeightsBody): void {
    if (this.#free.length < 2 && body.bytes.byteLength === this.#total) this.#free.push(body.bytes);
  }
}

const FETCH_ATTEMPTS = 6;

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
      const answered = Number(headers.get("x-commonweight-version") ?? version);
      return viewWeights(sizes, answered, Number(headers.get("x-commonweight-step") ?? step), body);
    } catch (error) {
      if (!(error instanceof HttpError) || attempt >= FETCH_ATTEMPTS || signal.aborted) throw error;
      if (error.status === 404 && wanted !== "latest") {
        wanted = "latest";
        continue;
      }
      if (!mayRetry(error)) throw error;
      await sleep(platform, backoffDelay(attempt, platform.random()), signal);
    }
  }
}
