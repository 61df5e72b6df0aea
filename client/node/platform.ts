/** Node as the volunteer loop sees it. */

import { createHash } from "node:crypto";
import type { Platform } from "../core/platform.ts";
import { createEngine } from "../engine/create.ts";
import { nodeCandidates } from "../engine/node/engine.ts";

export const nodePlatform: Platform = {
  fetch: (url, init) => fetch(url, init),
  openSocket: (url, protocols) => new WebSocket(url, [...protocols]),
  now: () => performance.now(),
  date: Date.now,
  setTimer: (callback, milliseconds) => setTimeout(callback, milliseconds),
  clearTimer: (timer) => clearTimeout(timer as NodeJS.Timeout),
  random: Math.random,
  sha256: async (bytes) => createHash("sha256").update(bytes).digest("hex"),
  chunkCache: null,
  createEngine: ({ choice, graph, microBatch, seed, workers }) =>
    createEngine(choice, { graph, microBatch, seed }, nodeCandidates(workers)),
};
