/**
 * The ONNX engine in a browser's worker that also has the socket to mind: where one thread is to compute, neither weights nor sums
 * are copied to another one and back, and no thread has to be woken.
 */

import { estimateCost } from "../../../shared/graph/index.ts";
import type { EngineOptions, GradientEngine } from "../engine.ts";
import { OnnxCompute } from "./compute.ts";
import { createOnnxEngine } from "./engine.ts";
import { createModuleRuntime } from "./module.ts";
import factory from "./ort.ts";
import { Turns } from "./turns.ts";

/** Floating-point operations of a micro-batch that a slow telephone has done in a quarter of a second. */
const QUICK = 1e9;

/** Puts a task behind those that wait already. */
function createDefer(): (callback: () => void) => void {
  const { port1, port2 } = new MessageChannel();
  const waiting: (() => void)[] = [];
  port1.onmessage = () => waiting.shift()?.();
  return (callback) => {
    waiting.push(callback);
    port2.postMessage(null);
  };
}

export interface OwnThread {
  /** Whether a thread that computes such micro-batches soon hears what it is told. */
  suits(options: EngineOptions): boolean;
  /** @param wasmBinary bytes of `ort-wasm-simd-threaded.wasm`. Throws EngineError, or Error if onnxruntime does not start. */
  create(options: EngineOptions, wasmBinary: ArrayBuffer): Promise<GradientEngine>;
}

export const ownThread: OwnThread = {
  suits: ({ graph, microBatch }) => estimateCost(graph, microBatch).flops <= QUICK,
  async create(options, wasmBinary) {
    const runtime = await createModuleRuntime(factory, await WebAssembly.compile(wasmBinary));
    const member = new OnnxCompute(runtime, options, new Turns(createDefer()));
    await member.prepare();
    return createOnnxEngine({ ...options, kind: "wasm", device: "WASM × 1", members: [member] });
  },
};
