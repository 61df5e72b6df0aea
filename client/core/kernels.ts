/**
 * The kernels of assembly/kernels.ts: what every step's result and weights pass through. They say nothing about what is wrong, and do
 * nothing where WebAssembly may not be compiled, as under a strict content security policy, where WebGPU may compute all the same. The
 * functions of shared/codec then do the same, and say what is wrong.
 */

import { GROUP, packedBytes, packedWidthsBytes } from "../../shared/codec/index.ts";
import { KERNELS_WASM } from "./kernels-wasm.ts";

interface Exports {
  pack(sums: number, widths: number, words: number, count: number): number;
  open(message: number, size: number, values: number, multiple: number): number;
  change(weights: number, from: number, to: number): number;
  isWhole(): number;
}

/** Values that are in the kernels' memory at a time: so many stay in the processor's nearer cache. */
const PART = 16_384;
const WORD = 4;
/** Bits of a value that the kernel packs. */
const PACKED_BITS = 16;
/** Room behind what is read and written. */
const MARGIN = 64;
const PAGE = 65_536;

/** Addresses. */
const VALUES = 0;
const WIDTHS = VALUES + PART * WORD;
const WORDS = WIDTHS + PART / GROUP;
const MESSAGE = WORDS + (PART * PACKED_BITS) / 8 + MARGIN;

class Kernels {
  readonly #memory: WebAssembly.Memory;
  readonly #exports: Exports;
  /** Of the whole memory, as long as it is now. */
  #bytes: Uint8Array;

  /** Throws where WebAssembly may not be compiled. */
  constructor() {
    this.#memory = new WebAssembly.Memory({ initial: Math.ceil(MESSAGE / PAGE) });
    const module = new WebAssembly.Module(Uint8Array.from(atob(KERNELS_WASM), (char) => char.charCodeAt(0)));
    const { exports } = new WebAssembly.Instance(module, { env: { memory: this.#memory } });
    this.#exports = exports as unknown as Exports;
    this.#bytes = new Uint8Array(this.#memory.buffer);
  }

  pack(sums: Int32Array): Uint8Array<ArrayBuffer> | null {
    const packed = new Uint8Array(packedBytes(sums.length, PACKED_BITS));
    let at = packedWidthsBytes(sums.length);
    const values = new Int32Array(this.#memory.buffer, VALUES, PART);
    for (let from = 0; from < sums.length; from += PART) {
      const part = sums.subarray(from, from + PART);
      values.set(part);
      const bytes = this.#exports.pack(VALUES, WIDTHS, WORDS, part.length);
      if (bytes < 0) return null;
      packed.set(this.#bytes.subarray(WIDTHS, WIDTHS + Math.ceil(part.length / GROUP)), from / GROUP);
      packed.set(this.#bytes.subarray(WORDS, WORDS + bytes), at);
      at += bytes;
    }
    return packed.subarray(0, at);
  }

  change(message: Uint8Array, unit: number, before: Float32Array, after: Float32Array): boolean {
    this.#reach(MESSAGE + message.byteLength + MARGIN);
    this.#bytes.set(message, MESSAGE);
    this.#bytes.fill(0, MESSAGE + message.byteLength, MESSAGE + message.byteLength + MARGIN);
    if (!this.#exports.open(MESSAGE, message.byteLength, before.length, unit)) return false;
    const values = new Float32Array(this.#memory.buffer, VALUES, PART);
    for (let from = 0; from < before.length; from += PART) {
      const part = before.subarray(from, from + PART);
      values.set(part);
      if (!this.#exports.change(VALUES, from, from + part.length)) return false;
      after.set(values.subarray(0, part.length), from);
    }
    return this.#exports.isWhole() !== 0;
  }

  #reach(end: number): void {
    const missing = end - this.#bytes.byteLength;
    if (missing <= 0) return;
    this.#memory.grow(Math.ceil(missing / PAGE));
    this.#bytes = new Uint8Array(this.#memory.buffer);
  }
}

/** Undefined before anybody asked; null where they cannot be. */
let kernels: Kernels | null | undefined;

function available(): Kernels | null {
  if (kernels === undefined) {
    try {
      kernels = new Kernels();
    } catch {
      kernels = null; // what they do is done without them
    }
  }
  return kernels;
}

/** What `pack` of shared/codec makes of the sums; null where a kernel cannot, as with sums of more than 16 bits. */
export const packSums = (sums: Int32Array): Uint8Array<ArrayBuffer> | null =>
  sums.length % WORD === 0 ? (available()?.pack(sums) ?? null) : null;

/**
 * Writes the weights before a change, changed, into `after`.
 * @param message sparse multiples of `unit`, as shared/codec reads them, aligned to 4 bytes
 * @returns false where a kernel cannot: what was written is then of no use
 */
export const changeWeights = (message: Uint8Array, unit: number, before: Float32Array, after: Float32Array): boolean =>
  message.byteLength % WORD === 0 && (available()?.change(message, unit, before, after) ?? false);
