/**
 * What an engine is: something that turns weights and micro-batches into integer gradient sums.
 *
 * The life of one shard: `begin(task)`, `accumulate(microBatch)` for each of its micro-batches (await each call: it
 * resolves when the engine can take another one, not when that one is computed), then `take()`. An engine works on one
 * shard at a time. The rounding grid and the weights do not change within a shard.
 */

import type { TrainingGraph } from "../../shared/graph/ir.ts";

/** What computes: WebGPU, onnxruntime-web (WASM), or onnxruntime-node (native). */
export type EngineKind = "webgpu" | "wasm" | "native";

export interface EngineOptions {
  readonly graph: TrainingGraph;
  /** Samples in a micro-batch: the N of the graph. */
  readonly microBatch: number;
  /** Session seed: dropout masks follow from it. */
  readonly seed: number;
}

export interface ShardTask {
  /** `calibrate` computes gradients but returns exponents only; `evaluate` runs forward without dropout. */
  readonly work: "gradient" | "calibrate" | "evaluate";
  readonly step: number;
  /** Micro-batches of the step or of the held-out split, whoever computes them: what bounds each one's scalars. */
  readonly microBatches: number;
  /** Bits of magnitude of one rounded value (q of the fixed-point sums); 0 unless work is `gradient`. */
  readonly magnitudeBits: number;
  /** Announced biased exponent of each block of 256 parameters; empty unless work is `gradient`. */
  readonly exponents: Uint8Array;
}

export type Tensor = Float32Array | Int32Array;

/**
 * Floats as they are stored, a byte each: byte b stands for b × scale + offset, computed in float64 and rounded to float32. To a worker
 * and through its memory they are a quarter as much.
 */
export interface Bytes {
  readonly bytes: Uint8Array;
  readonly scale: number;
  readonly offset: number;
}

/** One input of a micro-batch; `Bytes` only where the graph has float32. */
export type Input = Tensor | Bytes;

export interface MicroBatch {
  /** By graph input name, each [N, ...] flat, the `weight` input included. Short micro-batches are padded already. */
  readonly inputs: Readonly<Record<string, Input>>;
  /** Position in the step of the micro-batch's first sample: dropout is keyed by it. */
  readonly position: number;
}

/** What a shard came to. Scalar sums are integers in units of 2⁻²⁴, each micro-batch's value rounded before adding. */
export interface Contribution {
  /** Integer gradient sum over the flat parameter space, padding included; empty unless work is `gradient`. */
  readonly sums: Int32Array;
  /** Largest biased exponent seen by block (255: a value was not finite); empty for `evaluate`. */
  readonly maxima: Uint8Array;
  /** Values that were clamped to the grid. */
  readonly clamped: number;
  readonly loss: bigint;
  readonly weight: bigint;
  /** In the order of the metrics' sorted names; for `evaluate` the elements of the tables follow, in that of theirs. */
  readonly metrics: readonly bigint[];
}

export interface GradientEngine {
  readonly kind: EngineKind;
  /** For people: adapter or runtime description, such as "SwiftShader (software)" or "WASM × 2". */
  readonly device: string;
  /** Copies the flat weights (parameter space of the graph, 16-byte aligned offsets). Not while a shard is open. */
  setWeights(weights: Float32Array): Promise<void>;
  begin(task: ShardTask): void;
  accumulate(microBatch: MicroBatch): Promise<void>;
  /** Waits until everything accumulated is computed; what went wrong is said by `take`. */
  idle(): Promise<void>;
  /** Waits for everything accumulated since `begin`. On an error the shard is void; `begin` may be called again. */
  take(): Promise<Contribution>;
  /** Gives a contribution's arrays back to be filled again: the caller is done with them. */
  reuse?(contribution: Contribution): void;
  /** Prediction for any number of samples (features only), flat [samples, ...]. Not while a shard is open. */
  predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array>;
  dispose(): Promise<void>;
}

/** Stable codes: `unavailable` (no such device here), `lost` (device lost: make a new engine), `memory`, `compile`, `failed`. */
export type EngineErrorCode = "unavailable" | "lost" | "memory" | "compile" | "failed";

export class EngineError extends Error {
  readonly code: EngineErrorCode;
  constructor(code: EngineErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "EngineError";
    this.code = code;
  }
}
