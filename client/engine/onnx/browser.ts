/**
 * The ONNX engine in browsers: started by the SDK's worker, which has the socket to mind, it computes in nested workers, one a
 * member. (Where one is enough: own-thread.ts.) onnxruntime's code comes with the SDK, its `.wasm` from the coordinator, checked against the hash that the SDK
 * was built with.
 */

import { EngineError, type EngineOptions, type GradientEngine } from "../engine.ts";
import type { PoolMember } from "./compute.ts";
import { createOnnxEngine } from "./engine.ts";
import { createModuleRuntime, type OrtFactory } from "./module.ts";
import { connectMember, type Port, type RemoteThread, serveMember } from "./remote.ts";

/** What a pool worker is told before its first session. */
interface PoolSetup {
  readonly module: WebAssembly.Module;
}

export interface BrowserPoolOptions extends EngineOptions {
  readonly workers: number;
  /** Bytes of `ort-wasm-simd-threaded.wasm`. */
  readonly wasmBinary: ArrayBuffer;
  /** Starts a worker whose code calls `servePoolWorker`. */
  readonly spawn: () => Worker;
}

function threadOf(worker: Worker): RemoteThread {
  return {
    port: {
      postMessage: (message, transfer) => worker.postMessage(message, transfer),
      listen: (listener) => worker.addEventListener("message", ({ data }) => listener(data)),
    },
    terminate: () => worker.terminate(),
    onDeath: (listener) =>
      worker.addEventListener("error", (event) => listener(event.message || "it could not be loaded")),
  };
}

/** A pool of nested workers. Throws EngineError. */
export async function createBrowserPool(options: BrowserPoolOptions): Promise<GradientEngine> {
  const { graph, microBatch, seed, workers, wasmBinary, spawn } = options;
  // Compiled once: a module is shared by threads.
  const setup: PoolSetup = { module: await WebAssembly.compile(wasmBinary) };
  const starting = Array.from({ length: workers }, () =>
    connectMember(threadOf(spawn()), setup, { graph, microBatch, seed }),
  );
  const results = await Promise.allSettled(starting);
  const members: PoolMember[] = [];
  for (const result of results) if (result.status === "fulfilled") members.push(result.value);
  const failed = results.find((result) => result.status === "rejected");
  if (failed !== undefined) {
    await Promise.all(members.map((member) => member.dispose()));
    throw failed.reason;
  }
  return createOnnxEngine({ ...options, kind: "wasm", device: `WASM × ${workers}`, members });
}

/** To be called by a pool worker's entry, with the SDK's own copy of onnxruntime-web's module. */
export function servePoolWorker(factory: OrtFactory): void {
  const port: Port = {
    postMessage: (message, transfer) => postMessage(message, { transfer }),
    listen: (listener) => addEventListener("message", ({ data }: MessageEvent<unknown>) => listener(data)),
  };
  serveMember<PoolSetup>(port, ({ module }) => createModuleRuntime(factory, module));
}

/**
 * Fetches onnxruntime's `.wasm` and compares its SHA-256, where the page is secure enough to compute one.
 * Throws EngineError `unavailable`.
 */
export async function fetchWasmBinary(
  url: string,
  sha256: string,
  fetch: (url: string, init: RequestInit) => Promise<Response>,
): Promise<ArrayBuffer> {
  const response = await fetch(url, {});
  if (!response.ok) throw new EngineError("unavailable", `onnxruntime's wasm: ${url} answered ${response.status}`);
  const bytes = await response.arrayBuffer();
  if (globalThis.crypto?.subtle !== undefined) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const hash = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hash !== sha256)
      throw new EngineError("unavailable", `onnxruntime's wasm has SHA-256 ${hash}, expected ${sha256}`);
  }
  return bytes;
}
