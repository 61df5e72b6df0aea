/**
 * What the SDK's worker does: it owns the socket, the data and the engine, so that the page's main thread computes nothing. Everything
 * that it runs came with the SDK; onnxruntime's code for further threads is asked of the page only when the WASM engine wants them.
 */

import { createSha256 } from "../core/digest.ts";
import { asTrainingError } from "../core/errors.ts";
import type { EngineRequest, Platform } from "../core/platform.ts";
import { Volunteer, type VolunteerOptions } from "../core/volunteer.ts";
import { createEngine, type EngineCandidates } from "../engine/create.ts";
import { EngineError, type EngineOptions } from "../engine/engine.ts";
import { createBrowserPool, fetchWasmBinary } from "../engine/onnx/browser.ts";
import { ORT_WASM_SHA256 } from "../engine/onnx/ort-hash.ts";
import type { OwnThread } from "../engine/onnx/own-thread.ts";
import { requestWebGpu } from "../engine/webgpu/device.ts";
import { createWebGpuEngine } from "../engine/webgpu/engine.ts";
import { openChunkCache } from "./cache.ts";
import type { CallName, Calls, PageMessage, WorkerMessage } from "./messages.ts";
import { threadsOf } from "./threads.ts";
import { openVariantMemory } from "./variants.ts";

const post = (message: WorkerMessage, transfer: Transferable[] = []): void => postMessage(message, { transfer });

/** Waits for the page's answer to a request for the pool's source. */
let poolAnswer: PromiseWithResolvers<string> | null = null;

function loadPoolSource(): Promise<string> {
  if (poolAnswer === null) {
    poolAnswer = Promise.withResolvers<string>();
    post({ type: "pool" });
  }
  return poolAnswer.promise;
}

/** Null in a worker without onnxruntime's code: there one thread is another one, too. */
let ownThread: OwnThread | null = null;

async function createWasm(options: EngineOptions, { server, workers: wanted, fetch }: EngineRequest) {
  const loading = fetchWasmBinary(`${server}/ort/ort-wasm-simd-threaded.wasm`, ORT_WASM_SHA256, fetch);
  const workers = threadsOf(wanted);
  if (workers === 1 && ownThread?.suits(options)) return ownThread.create(options, await loading);
  const [source, wasmBinary] = await Promise.all([loadPoolSource(), loading]);
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    return await createBrowserPool({
      ...options,
      wasmBinary,
      workers,
      spawn: () => new Worker(url, { type: "module", name: "commonweight-wasm" }),
    });
  } finally {
    URL.revokeObjectURL(url);
  }
}

function candidates(request: EngineRequest): EngineCandidates {
  let isHardware = false;
  return {
    webgpu: {
      create: async (options) => {
        const found = navigator.gpu === undefined ? null : await requestWebGpu(navigator.gpu);
        if (found === null) throw new EngineError("unavailable", "this browser offers no WebGPU adapter");
        isHardware = !found.fallback;
        return createWebGpuEngine({ ...options, ...found, variants: openVariantMemory() });
      },
      isDecisive: async () => isHardware,
    },
    wasm: { create: (options) => createWasm(options, request) },
  };
}

function browserPlatform(): Platform {
  return {
    fetch: (url, init) => fetch(url, init),
    openSocket: (url, protocols) => new WebSocket(url, [...protocols]),
    now: () => performance.now(),
    date: Date.now,
    setTimer: (callback, milliseconds) => setTimeout(callback, milliseconds),
    clearTimer: (timer) => clearTimeout(timer as number),
    random: Math.random,
    sha256: createSha256(globalThis.crypto?.subtle),
    chunkCache: openChunkCache(),
    createEngine: (request) => {
      const { choice, graph, microBatch, seed } = request;
      return createEngine(choice, { graph, microBatch, seed }, candidates(request));
    },
  };
}

let volunteer: Volunteer | null = null;

function join(options: VolunteerOptions): void {
  volunteer = new Volunteer(options, browserPlatform(), (event) => post({ type: "event", event }));
  volunteer.finished.then(
    (summary) => post({ type: "finished", summary }),
    (error: unknown) => {
      const { code, message } = asTrainingError(error);
      post({ type: "failed", error: { code, message } });
    },
  );
}

const CALLS: {
  readonly [Name in CallName]: (
    volunteer: Volunteer,
    argument: Calls[Name]["argument"],
  ) => Promise<Calls[Name]["answer"]>;
} = {
  predict: (volunteer, inputs) => volunteer.predict(inputs),
  metrics: (volunteer, after) => volunteer.metrics(after),
  forget: (volunteer) => volunteer.forget().then(() => null),
};

async function answer(id: number, name: CallName, argument: unknown): Promise<void> {
  try {
    if (volunteer === null) throw new Error("there was no join");
    post({ type: "answer", id, answer: await CALLS[name](volunteer, argument as never) });
  } catch (error) {
    const { code, message } = asTrainingError(error);
    post({ type: "refusal", id, error: { code, message } });
  }
}

function hear({ data }: MessageEvent<PageMessage>): void {
  switch (data.type) {
    case "join":
      join(data.options);
      break;
    case "pause":
      volunteer?.pause();
      break;
    case "resume":
      volunteer?.resume();
      break;
    case "leave":
      volunteer?.leave();
      break;
    case "share":
      volunteer?.setShare(data.share);
      break;
    case "policies":
      volunteer?.setPolicies(data.policies);
      break;
    case "conditions":
      volunteer?.sense(data.conditions);
      break;
    case "wake":
      volunteer?.wake();
      break;
    case "reconnect":
      volunteer?.reconnect();
      break;
    case "call":
      void answer(data.id, data.name, data.argument);
      break;
    case "pool":
      if (data.source === null) poolAnswer?.reject(new EngineError("unavailable", data.problem));
      else poolAnswer?.resolve(data.source);
      break;
    default:
      data satisfies never;
  }
}

/** To be called by a worker's entry. */
export function serveVolunteer(here: OwnThread | null): void {
  ownThread = here;
  addEventListener("message", hear);
}
