/** onnxruntime-web as its users have it: what the models that we write mean to it, by its own interface. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";

const file = createRequire(import.meta.url).resolve("onnxruntime-web/ort-wasm-simd-threaded.wasm");
env.wasm.wasmBinary = new Uint8Array(readFileSync(file)).buffer;
env.wasm.numThreads = 1;
env.logLevel = "error";

export const runtime = {
  createSession: (model: Uint8Array): Promise<InferenceSession> =>
    InferenceSession.create(model, {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
      logSeverityLevel: 3,
    }),
  createTensor: (type: "float32" | "int32", data: Float32Array | Int32Array, shape: readonly number[]): Tensor =>
    new Tensor(type, data, shape),
};
