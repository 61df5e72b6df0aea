/**
 * The compiled kernels over one linear memory that holds everything the optimizer keeps per parameter. The shell hands in
 * the module: workerd imports `.wasm` as a module, Node compiles it from bytes.
 */

import { blockCount } from "../../shared/codec/index.ts";
import type { GradientCodec } from "../../shared/session/definition.ts";

const PAGE_BYTES = 65_536;

interface KernelExports {
  addFixed32(sums: number, incoming: number, count: number): void;
  addFixed16(sums: number, incoming: number, count: number): void;
  decode(values: number, scales: number, count: number): void;
  squaredNorm(gradients: number, count: number): number;
  adam(
    weights: number,
    m: number,
    v: number,
    gradients: number,
    count: number,
    scale: number,
    beta1: number,
    rest1: number,
    beta2: number,
    rest2: number,
    stepSize: number,
    rootBias2: number,
    eps: number,
  ): void;
  sgd(weights: number, gradients: number, count: number, scale: number, lr: number): void;
}

const ADD = { fixed32: "addFixed32", fixed16: "addFixed16" } as const satisfies Record<
  GradientCodec,
  keyof KernelExports
>;

export class Kernels {
  /** Flat views [parameters] into the linear memory. */
  readonly weights: Float32Array<ArrayBuffer>;
  readonly m: Float32Array<ArrayBuffer>;
  readonly v: Float32Array<ArrayBuffer>;
  /** Integer sums of the open step; the same memory holds the decoded gradient after `decode`. */
  readonly sums: Int32Array<ArrayBuffer>;
  /** What a block's integers are multiplied by to be a mean gradient, [blocks]. */
  readonly scales: Float32Array<ArrayBuffer>;
  readonly #incoming: Uint8Array<ArrayBuffer>;
  readonly #exports: KernelExports;
  readonly #memory: WebAssembly.Memory;

  constructor(module: WebAssembly.Module, parameters: number) {
    if (parameters % 4 !== 0) throw new RangeError(`${parameters} parameters are not a multiple of 4`);
    const blocks = Math.ceil(blockCount(parameters) / 4) * 4;
    const floats = 5 * parameters + blocks;
    this.#memory = new WebAssembly.Memory({ initial: Math.ceil((floats * 4) / PAGE_BYTES) });
    const { buffer } = this.#memory;
    const instance = new WebAssembly.Instance(module, { env: { memory: this.#memory } });
    this.#exports = instance.exports as unknown as KernelExports;
    const at = (part: number): number => part * parameters * 4;
    this.weights = new Float32Array(buffer, at(0), parameters);
    this.m = new Float32Array(buffer, at(1), parameters);
    this.v = new Float32Array(buffer, at(2), parameters);
    this.sums = new Int32Array(buffer, at(3), parameters);
    this.#incoming = new Uint8Array(buffer, at(4), parameters * 4);
    this.scales = new Float32Array(buffer, at(5), blocks);
  }

  /** Bytes of the linear memory, for the ledger (invariant I4). */
  get bytes(): number {
    return this.#memory.buffer.byteLength;
  }

  /** Adds encoded sums of exactly the parameters' size. */
  add(incoming: Uint8Array, codec: GradientCodec): void {
    this.#incoming.set(incoming);
    this.#exports[ADD[codec]](this.sums.byteOffset, this.#incoming.byteOffset, this.sums.length);
  }

  /** Turns the sums into gradients in place, by `scales`. */
  decode(): void {
    this.#exports.decode(this.sums.byteOffset, this.scales.byteOffset, this.sums.length);
  }

  /** Σ g² of the decoded gradient. */
  squaredNorm(): number {
    return this.#exports.squaredNorm(this.sums.byteOffset, this.sums.length);
  }

  /** One Adam update from the decoded gradient; see optimizers.ts for the scalars. */
  adam(scale: number, scalars: Float32Array): void {
    const [beta1, rest1, beta2, rest2, stepSize, rootBias2, eps] = scalars;
    const { weights, m, v, sums } = this;
    this.#exports.adam(
      weights.byteOffset,
      m.byteOffset,
      v.byteOffset,
      sums.byteOffset,
      sums.length,
      scale,
      beta1,
      rest1,
      beta2,
      rest2,
      stepSize,
      rootBias2,
      eps,
    );
  }

  sgd(scale: number, lr: number): void {
    this.#exports.sgd(this.weights.byteOffset, this.sums.byteOffset, this.sums.length, scale, lr);
  }
}

export function createKernels(module: WebAssembly.Module, parameters: number): Kernels {
  return new Kernels(module, parameters);
}
