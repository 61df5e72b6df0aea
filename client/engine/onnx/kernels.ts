/** The SIMD kernels of assembly/kernels.ts over a memory of onnxruntime's: pointers are byte offsets in it. */

import { KERNELS_WASM } from "./kernels-wasm.ts";

type Accumulate = (
  gradient: number,
  announced: number,
  sums: number,
  maxima: number,
  count: number,
  bits: number,
) => number;

export interface Kernels {
  expand(bytes: number, values: number, count: number, scale: number, offset: number): void;
  measure(gradient: number, maxima: number, count: number): void;
  readonly start: Accumulate;
  readonly accumulate: Accumulate;
}

/** A module is for memory of one kind: what differs is a flag of its import. */
type MemoryKind = keyof typeof KERNELS_WASM;

const compiled = new Map<MemoryKind, WebAssembly.Module>();

function moduleFor({ buffer }: WebAssembly.Memory): WebAssembly.Module {
  const kind = buffer instanceof ArrayBuffer ? "own" : "shared";
  let module = compiled.get(kind);
  if (module === undefined) {
    module = new WebAssembly.Module(Uint8Array.from(atob(KERNELS_WASM[kind]), (char) => char.charCodeAt(0)));
    compiled.set(kind, module);
  }
  return module;
}

export function kernelsOver(memory: WebAssembly.Memory): Kernels {
  return new WebAssembly.Instance(moduleFor(memory), { env: { memory } }).exports as unknown as Kernels;
}
