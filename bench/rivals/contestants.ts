/** The rivals that run in a page, by workload. */

import { createHandWrittenStepper, createOnnxWebGpuStepper } from "../engine/contestants/onnxruntime.ts";
import { RIVALS } from "../engine/names.ts";
import type { PageContestant } from "../engine/page/arena.ts";
import type { CreateStepper } from "../engine/trial.ts";
import type { Workload } from "../engine/workloads.ts";

/** Loaded when it is their turn: what one of them lacks is no trouble of the others. */
const CREATORS: readonly (readonly [name: string, load: () => Promise<CreateStepper>])[] = [
  [RIVALS.jaxWebGpu, async () => (await import("./jax.ts")).createJaxStepper("webgpu")],
  [RIVALS.jaxWasm, async () => (await import("./jax.ts")).createJaxStepper("wasm")],
  [RIVALS.tensorflowWebGpu, async () => (await import("./tensorflow.ts")).createTensorFlowStepper("webgpu")],
  [RIVALS.tensorflowWasm, async () => (await import("./tensorflow.ts")).createTensorFlowStepper("wasm")],
  [RIVALS.onnxruntimeWebGpu, async () => createOnnxWebGpuStepper],
];

export function rivalContestants({ network }: Workload): PageContestant[] {
  const handWritten: typeof CREATORS =
    network.kind === "mlp" ? [[RIVALS.handWritten, async () => createHandWrittenStepper]] : [];
  return [...CREATORS, ...handWritten].map(([name, load]) => ({
    name,
    ours: false,
    create: async (problem) => (await load())(problem),
  }));
}
