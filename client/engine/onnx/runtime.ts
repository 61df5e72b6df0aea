/**
 * The part of onnxruntime that the engine uses: sessions whose tensors have fixed places in memory, so that a run copies and
 * allocates nothing. `module.ts` has it of onnxruntime-web's WebAssembly module, `native.ts` of onnxruntime-node.
 */

/** A stretch of memory, 16-byte aligned, all zeros at first. */
export interface Block {
  /** May be shared: kernels in WebAssembly import it. */
  readonly memory: WebAssembly.Memory;
  /** Byte offset in `memory`. */
  readonly address: number;
  free(): void;
}

/** A tensor that stays where it is: `values` is a view of a block of the same runtime. */
export interface PlacedTensor {
  /** Of the model's input or output. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array | Int32Array;
}

export interface OnnxSession {
  /** A computation of all outputs from all inputs, where they lie; to be called one at a time. */
  bind(inputs: readonly PlacedTensor[], outputs: readonly PlacedTensor[]): () => Promise<void>;
  /** Frees the session and what is bound to it. */
  release(): Promise<void>;
}

/** Single-threaded: that is what makes the bits of a session the same everywhere. */
export interface OnnxRuntime {
  /** Throws where there is not enough. */
  allocate(byteLength: number): Block;
  createSession(model: Uint8Array): Promise<OnnxSession>;
}

/** A block of its own, in a memory that is not shared. */
export function allocateAlone(byteLength: number): Block {
  const memory = new WebAssembly.Memory({ initial: Math.ceil(byteLength / PAGE_BYTES) });
  return { memory, address: 0, free: () => {} };
}

const PAGE_BYTES = 65_536;
