/** Node's engines: onnxruntime-web's WASM build (the same bits as in browsers), and onnxruntime-node where it is installed. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { differentiate, type Graph } from "../../../shared/graph/index.ts";
import type { EngineCandidates } from "../create.ts";
import { EngineError, type EngineOptions, type GradientEngine } from "../engine.ts";
import { OnnxCompute, type PoolMember } from "../onnx/compute.ts";
import { createOnnxEngine } from "../onnx/engine.ts";
import { createModuleRuntime } from "../onnx/module.ts";
import { wrapNodePackage } from "../onnx/native.ts";
import { connectMember, type RemoteThread } from "../onnx/remote.ts";
import type { OnnxRuntime } from "../onnx/runtime.ts";
import { Turns } from "../onnx/turns.ts";

/** TypeScript in the repository, JavaScript when published. */
const isPublished = import.meta.url.endsWith(".js");

/**
 * onnxruntime-web's `.wasm`. The published package carries it and its code (scripts/build.ts), because the whole of onnxruntime-web is
 * 139 MB, ten times what a volunteer needs of it.
 */
const locateWasm = (): string | URL =>
  isPublished
    ? new URL("../../../../build/assets/ort/ort-wasm-simd-threaded.wasm", import.meta.url)
    : createRequire(import.meta.url).resolve("onnxruntime-web/ort-wasm-simd-threaded.wasm");

async function startRuntime(): Promise<OnnxRuntime> {
  const [{ default: factory }, module] = await Promise.all([
    import("../onnx/ort.ts"),
    WebAssembly.compile(readFileSync(locateWasm())),
  ]);
  return createModuleRuntime(factory, module);
}

let runtime: Promise<OnnxRuntime> | undefined;

/** onnxruntime-web in this thread: one, whose memory all engines here share. */
export function loadWasmRuntime(): Promise<OnnxRuntime> {
  runtime ??= startRuntime();
  return runtime;
}

/** onnxruntime-node, an optional peer. Throws EngineError `unavailable` if it is not installed. */
async function loadNativeRuntime(): Promise<OnnxRuntime> {
  const name = "onnxruntime-node"; // not a literal in the import: it need not exist
  try {
    const module = (await import(name)) as { default?: unknown };
    return wrapNodePackage(module.default ?? module);
  } catch (cause) {
    throw new EngineError(
      "unavailable",
      "the native engine needs a package that is not here: npm install onnxruntime-node",
      {
        cause,
      },
    );
  }
}

const workerFile = new URL(`./pool-worker.${isPublished ? "js" : "ts"}`, import.meta.url);

function startThread(): RemoteThread {
  const worker = new Worker(workerFile);
  let ended = false;
  return {
    port: {
      postMessage: (message, transfer) => worker.postMessage(message, transfer as ArrayBuffer[]),
      listen: (listener) => worker.on("message", listener),
    },
    terminate: async () => {
      ended = true;
      await worker.terminate();
    },
    onDeath: (listener) => {
      worker.on("error", (error) => listener(error instanceof Error ? error.message : String(error)));
      worker.on("exit", (code) => {
        if (!ended) listener(`exit code ${code}`);
      });
    },
  };
}

const createTurns = (): Turns => new Turns((callback) => setImmediate(callback));

async function createMembers(options: EngineOptions, workers: number): Promise<PoolMember[]> {
  if (workers > 1) {
    return Promise.all(Array.from({ length: workers }, () => connectMember(startThread(), null, options)));
  }
  const member = new OnnxCompute(await loadWasmRuntime(), options, createTurns());
  await member.prepare();
  return [member];
}

/** One session in this thread for `workers` = 1, else a pool of worker threads. */
export async function createWasmEngine(options: EngineOptions, workers: number): Promise<GradientEngine> {
  const members = await createMembers(options, workers);
  return createOnnxEngine({ ...options, kind: "wasm", device: `onnxruntime-web WASM × ${workers}, Node`, members });
}

/** One WASM session in this thread that only predicts: nothing is compiled for training. Throws EngineError. */
export async function createWasmPredictor(
  graph: Graph,
  microBatch: number,
): Promise<Pick<GradientEngine, "setWeights" | "predict" | "dispose">> {
  return new OnnxCompute(await loadWasmRuntime(), { graph: differentiate(graph, microBatch), microBatch, seed: 0 });
}

async function createNativeEngine(options: EngineOptions): Promise<GradientEngine> {
  const member = new OnnxCompute(await loadNativeRuntime(), options, createTurns());
  await member.prepare();
  return createOnnxEngine({ ...options, kind: "native", device: "onnxruntime-node, one thread", members: [member] });
}

/** What Node offers. `workers` undefined: all cores but one, at least one. */
export function nodeCandidates(workers: number | undefined): EngineCandidates {
  const count = workers ?? Math.max(1, availableParallelism() - 1);
  return {
    native: { create: createNativeEngine },
    wasm: { create: (options) => createWasmEngine(options, count) },
  };
}
