/**
 * A modelled network: gradients of micro-batches that share a direction and differ by noise, results of honest engines and of
 * cheaters. WASM is exact. A modelled GPU differs by rounding in every value, and now and then by a gate that falls the other way; both
 * are set above what real pairs show (`test/parity/pairs.ts`).
 */

import { type Evidence, evidenceOf, type Grid } from "../../../coordinator/audit/index.ts";
import { announce, createEnvelope, magnitudeBits, measureExponents } from "../../../shared/codec/index.ts";
import type { Key } from "../../../shared/random/index.ts";
import { Chance } from "../round/timeline.ts";

export type Engine = "wasm" | "webgpu";

/** What a cheater sends in place of the gradient. Its loss and weight are right, which is more than most could do. */
export type Cheat = "zeros" | "half" | "scaled" | "replayed";

const PARAMETERS = 512;
/** Of the noise of one half of a micro-batch, beside the gradient they share. */
const NOISE = 1;
const SCALED = 1.1;

/** Of a modelled GPU. Of 12,000 real pairs one was apart by more than 3e-6, by 1.3e-2: the model is worse than that. */
export const GPU_MODEL = {
  /** Relative error of each value. */
  rounding: 5e-7,
  /** Micro-batches in which a gate falls the other way. */
  gates: 1 / 500,
  /** What that changes of the gradient's length: log-uniform between these. */
  least: 1e-3,
  most: 0.1,
} as const;

const SAMPLES = 32;
const LOSS = BigInt(SAMPLES * 2 ** 23);
const WEIGHT = BigInt(SAMPLES * 2 ** 24);

export class Network {
  readonly #seed: number;
  readonly #bits: number;
  readonly #microBatches: number;
  readonly #announced: Uint8Array;
  readonly #key: Key;

  constructor(seed: number, microBatches: number) {
    this.#seed = seed;
    this.#microBatches = microBatches;
    this.#bits = magnitudeBits("fixed32", microBatches);
    this.#key = [seed, 77];
    const maxima = new Uint8Array(PARAMETERS / 256);
    measureExponents(Float32Array.from(this.#microBatch(0, 0, false)), maxima);
    this.#announced = announce(createEnvelope(maxima));
  }

  /** What the coordinator keeps of one result. */
  result(
    work: { readonly step: number; readonly from: number; readonly to: number },
    engine: Engine,
    cheat: Cheat | null,
    chance: Chance,
  ): Evidence {
    const { from, to } = work;
    const step = cheat === "replayed" ? work.step - 1 : work.step;
    const scale = 2 ** (this.#bits - (this.#announced[0]! - 126));
    const sums = new Int32Array(PARAMETERS);
    for (let index = from; index < to; index++) {
      if (cheat === "zeros") break;
      const gradient = this.#microBatch(step, index, cheat === "half");
      if (cheat === "scaled") for (const [at, value] of gradient.entries()) gradient[at] = value * SCALED;
      if (engine === "webgpu") disturb(gradient, chance);
      for (const [at, value] of gradient.entries()) sums[at]! += Math.round(value * scale);
    }
    const count = BigInt(to - from);
    const grid: Grid = {
      codec: "fixed32",
      parameters: PARAMETERS,
      announced: this.#announced,
      bits: this.#bits,
    };
    const contribution = {
      sums: [new Uint8Array(sums.buffer)],
      loss: LOSS * count,
      weight: WEIGHT * count,
      metrics: [],
      maxima: this.#announced.map((exponent) => exponent - 2),
      clamped: 0,
      microBatches: to - from,
      samples: (to - from) * SAMPLES,
    };
    return evidenceOf(this.#key, contribution, grid, engine === "wasm");
  }

  /** The gradient of a micro-batch; or twice that of the first half of its samples. */
  #microBatch(step: number, index: number, isHalf: boolean): Float64Array {
    const shared = new Chance((this.#seed * 7919 + step) | 0);
    const own = new Chance((this.#seed * 104729 + step * this.#microBatches + index) | 0);
    return Float64Array.from({ length: PARAMETERS }, () => {
      const direction = shared.next() - 0.5;
      const [first, second] = [own.next() - 0.5, own.next() - 0.5];
      return direction + NOISE * (isHalf ? first : (first + second) / 2);
    });
  }
}

/** What a GPU makes of it. */
function disturb(gradient: Float64Array, chance: Chance): void {
  for (const [at, value] of gradient.entries())
    gradient[at] = value * (1 + GPU_MODEL.rounding * (2 * chance.next() - 1));
  if (!chance.happens(GPU_MODEL.gates)) return;
  let square = 0;
  for (const value of gradient) square += value * value;
  // A unit's gate moves the gradients of its own weights: a run of them.
  const size = chance.magnitude(GPU_MODEL.least, GPU_MODEL.most) * Math.sqrt(square);
  const width = chance.integer(1, 64);
  const start = chance.integer(0, gradient.length - width);
  for (let at = start; at < start + width; at++) {
    gradient[at]! += (size / Math.sqrt(width)) * (chance.happens(0.5) ? 1 : -1);
  }
}
