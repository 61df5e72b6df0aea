/** A worker thread that serves one member of the ONNX pool. */

import { parentPort } from "node:worker_threads";
import { serveMember } from "../onnx/remote.ts";
import { loadWasmRuntime } from "./engine.ts";

const port = parentPort;
if (port === null) throw new Error("this file is the entry of a worker thread");

serveMember<null>(
  {
    postMessage: (message, transfer) => port.postMessage(message, transfer as ArrayBuffer[]),
    listen: (listener) => port.on("message", listener),
  },
  loadWasmRuntime,
);
