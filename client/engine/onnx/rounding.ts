/**
 * A shard's sum in WebAssembly memory: gradients are copied in, rounded and added there by SIMD kernels, and the sum is copied
 * out once. What is computed is `accumulateFixed` and `measureExponents` of shared/codec, bit for bit.
 */

import { blockCount } from "../../../shared/codec/index.ts";
import type { Contribution, ShardTask } from "../engine.ts";
import { ROUNDING_WASM } from "./rounding-wasm.ts";

const PAGE_BYTES = 65_536;
const WORD = 4;

interface Exports {
  measure(gradient: number, maxima: number, count: number): void;
  accumulate(gradient: number, announced: number, sums: number, maxima: number, count: number, bits: number): number;
}

let compiled: WebAssembly.Module | undefined;

function moduleOf(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(Uint8Array.from(atob(ROUNDING_WASM), (char) => char.charCodeAt(0)));
  return compiled;
}

export class Rounding {
  /** One micro-batch's gradient, [parameters]: to be filled before each call. */
  readonly gradient: Float32Array<ArrayBuffer>;
  readonly #sums: Int32Array<ArrayBuffer>;
  readonly #announced: Uint8Array<ArrayBuffer>;
  readonly #maxima: Uint8Array<ArrayBuffer>;
  readonly #exports: Exports;
  #clamped = 0;

  /** @param parameters of the flat space, a multiple of 4 */
  constructor(parameters: number) {
    const blocks = blockCount(parameters);
    const blockBytes = Math.ceil(blocks / 16) * 16;
    const bytes = 2 * parameters * WORD + 2 * blockBytes;
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE_BYTES) });
    const { buffer } = memory;
    this.gradient = new Float32Array(buffer, 0, parameters);
    this.#sums = new Int32Array(buffer, parameters * WORD, parameters);
    this.#announced = new Uint8Array(buffer, 2 * parameters * WORD, blocks);
    this.#maxima = new Uint8Array(buffer, 2 * parameters * WORD + blockBytes, blocks);
    this.#exports = new WebAssembly.Instance(moduleOf(), { env: { memory } }).exports as unknown as Exports;
  }

  /** Begins a sum of zero. @param announced exponents by block; none if nothing will be rounded */
  begin(announced: Uint8Array = new Uint8Array(0)): void {
    this.#sums.fill(0);
    this.#maxima.fill(0);
    this.#announced.set(announced);
    this.#clamped = 0;
  }

  /** Notes the exponents in `gradient`. */
  measure(): void {
    this.#exports.measure(this.gradient.byteOffset, this.#maxima.byteOffset, this.gradient.length);
  }

  /** Rounds `gradient` to the grid and adds it. */
  accumulate(bits: number): void {
    const { gradient } = this;
    this.#clamped += this.#exports.accumulate(
      gradient.byteOffset,
      this.#announced.byteOffset,
      this.#sums.byteOffset,
      this.#maxima.byteOffset,
      gradient.length,
      bits,
    );
  }

  /** Copies of what has come together: what this kind of work has no use for is empty. */
  take(work: ShardTask["work"]): Pick<Contribution, "sums" | "maxima" | "clamped"> {
    return {
      sums: work === "gradient" ? this.#sums.slice() : new Int32Array(0),
      maxima: work === "evaluate" ? new Uint8Array(0) : this.#maxima.slice(),
      clamped: work === "gradient" ? this.#clamped : 0,
    };
  }
}
