/** What this project says of its engines, for `npm run bench` to find true or not. */

import type { Claim } from "../harness/race.ts";
import { cutOf, OUR_NAMES, RIVALS, wholeOf } from "./names.ts";
import type { Workload } from "./workloads.ts";

/** Slower than a bare graph by at most 5 %, rounding and summing included. */
const LEVEL_WITH_BARE_GRAPH = 1 / 1.05;

export function claimsOf(workload: Workload): Claim[] {
  const { kind } = workload.network;
  const webgpu = OUR_NAMES.webgpu(wholeOf(workload));
  const wasm = OUR_NAMES.wasm(wholeOf(workload));
  const gain = (ours: string, rival: string, atLeast: number): Claim => ({ kind: "gain", ours, rival, atLeast });
  const fact = (name: string, atMost: number): Claim => ({ kind: "fact", ours: webgpu, fact: name, atMost });
  return [
    gain(webgpu, RIVALS.jaxWebGpu, 1.5),
    gain(webgpu, RIVALS.tensorflowWebGpu, 4),
    gain(webgpu, RIVALS.onnxruntimeWebGpu, 4),
    gain(OUR_NAMES.wasmOnAllCores(cutOf(workload)), RIVALS.jaxWasm, 1),
    // Its WASM backend cannot train convolutions.
    ...(kind === "cnn" ? [] : [gain(wasm, RIVALS.tensorflowWasm, 5)]),
    ...(kind === "mlp"
      ? [
          gain(wasm, RIVALS.handWritten, LEVEL_WITH_BARE_GRAPH),
          fact("dispatches", 14),
          fact("read-backs", 1),
          fact("moved / compulsory", 1.25),
        ]
      : []),
  ];
}
