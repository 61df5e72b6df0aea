/** Our engines, each with the whole batch at once and as a session would cut it. */

import { cutOf, OUR_NAMES, wholeOf } from "../names.ts";
import type { PageContestant } from "../page/arena.ts";
import type { Workload } from "../workloads.ts";
import { createWasmStepper, createWebGpuStepper } from "./commonweight.ts";

export function ourContestants(workload: Workload): PageContestant[] {
  const [whole, cut] = [wholeOf(workload), cutOf(workload)];
  const cores = Math.min(navigator.hardwareConcurrency ?? 1, workload.batch / workload.microBatch);
  const cuts = whole.label === cut.label ? [whole] : [whole, cut];
  const found = cuts.flatMap((by) => [
    { name: OUR_NAMES.webgpu(by), create: createWebGpuStepper(by.microBatch) },
    { name: OUR_NAMES.wasm(by), create: createWasmStepper(1, by.microBatch) },
  ]);
  found.push({ name: OUR_NAMES.wasmOnAllCores(cut), create: createWasmStepper(cores, cut.microBatch) });
  return found.map((contestant) => ({ ...contestant, ours: true }));
}
