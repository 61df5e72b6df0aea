/** What contestants are called, in tables and in claims. */

import type { Workload } from "./workloads.ts";

/** Number and size of a step's micro-batches: the whole batch as one, or as a session would cut it. */
export interface Cut {
  readonly microBatch: number;
  readonly label: string;
}

const cutInto = (batch: number, microBatch: number): Cut => ({
  microBatch,
  label: `${batch / microBatch}×${microBatch}`,
});

export const wholeOf = ({ batch }: Workload): Cut => cutInto(batch, batch);

export const cutOf = ({ batch, microBatch }: Workload): Cut => cutInto(batch, microBatch);

export const OUR_NAMES = {
  webgpu: (cut: Cut) => `WebGPU ${cut.label}`,
  wasm: (cut: Cut) => `WASM, 1 core ${cut.label}`,
  wasmOnAllCores: (cut: Cut) => `WASM, all cores ${cut.label}`,
} as const;

export const RIVALS = {
  jaxWebGpu: "jax-js WebGPU",
  jaxWasm: "jax-js WASM, all cores",
  tensorflowWebGpu: "TensorFlow.js WebGPU",
  tensorflowWasm: "TensorFlow.js WASM, 1 core",
  onnxruntimeWebGpu: "onnxruntime-web WebGPU",
  handWritten: "hand-written ONNX, 1 core",
  pytorch: "PyTorch, 1 core",
  pytorchOnAllCores: "PyTorch, all cores",
} as const;
