/**
 * What the volunteer loop needs from its surroundings. A browser worker, Node and the tests each pass their own, so
 * that nothing in `client/core` names a global that one of them lacks.
 */

import type { TrainingGraph } from "../../shared/graph/ir.ts";
import type { GradientEngine } from "../engine/engine.ts";

/** The part of a WebSocket that is used; browsers' and Node's satisfy it. */
export interface Socket {
  binaryType: string;
  readonly protocol: string;
  readonly readyState: number;
  send(data: Uint8Array<ArrayBuffer> | string): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: "open", listener: () => void): void;
  addEventListener(type: "error", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: { readonly code: number; readonly reason: string }) => void): void;
}

export const SOCKET_OPEN = 1;

/** `auto` measures what there is on the session's own model and takes the fastest. */
export type EngineChoice = "auto" | "webgpu" | "wasm" | "native";

export interface EngineRequest {
  readonly choice: EngineChoice;
  readonly graph: TrainingGraph;
  readonly microBatch: number;
  readonly seed: number;
  /** Threads of the WASM engine; undefined leaves it to the platform. */
  readonly workers: number | undefined;
  /** Where onnxruntime's `.wasm` is served, `<server>/ort/`, and how it is fetched. */
  readonly server: string;
  readonly fetch: Platform["fetch"];
}

/** Immutable bytes kept between visits, by SHA-256. Both calls may fail quietly: it is only a cache. */
export interface ByteCache {
  get(hash: string): Promise<Uint8Array<ArrayBuffer> | null>;
  put(hash: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
}

export type Timer = number | object;

export interface Platform {
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  readonly openSocket: (url: string, protocols: readonly string[]) => Socket;
  /** Milliseconds, for durations only. */
  readonly now: () => number;
  /** Milliseconds since 1970: unlike `now` it also counts time in which the machine slept. */
  readonly date: () => number;
  readonly setTimer: (callback: () => void, milliseconds: number) => Timer;
  readonly clearTimer: (timer: Timer) => void;
  /** Uniform in [0, 1): jitter and the order of local samples. Never part of the arithmetic of a hosted session. */
  readonly random: () => number;
  /** Hex SHA-256, or null where the platform has none (an insecure page): then chunks are used unverified. */
  readonly sha256: ((bytes: Uint8Array<ArrayBuffer>) => Promise<string>) | null;
  readonly chunkCache: ByteCache | null;
  readonly createEngine: (request: EngineRequest) => Promise<GradientEngine>;
}

/** Resolves after `milliseconds`, or at once when the signal aborts. */
export function sleep(platform: Platform, milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const end = () => {
      platform.clearTimer(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = platform.setTimer(end, milliseconds);
    signal?.addEventListener("abort", end);
  });
}
