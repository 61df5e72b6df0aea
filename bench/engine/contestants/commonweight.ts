/**
 * Ours, as a volunteer uses them: a step is new weights, a shard of micro-batches, each gradient rounded to integers and
 * added, and the integer sum in the host's memory. Rivals stop at a gradient; ours is what goes on the wire.
 */

import type { Contribution, GradientEngine, MicroBatch, ShardTask, Tensor } from "../../../client/engine/engine.ts";
import { createBrowserPool } from "../../../client/engine/onnx/browser.ts";
import { requestWebGpu } from "../../../client/engine/webgpu/device.ts";
import { createWebGpuEngine, planSession } from "../../../client/engine/webgpu/engine.ts";
import { layoutOf } from "../../../client/engine/webgpu/layout.ts";
import { compulsoryBytes, movedBytes } from "../../../client/engine/webgpu/traffic.ts";
import { tuningFor } from "../../../client/engine/webgpu/tuning.ts";
import { announce, BLOCK, createEnvelope, gridScale, magnitudeBits } from "../../../shared/codec/index.ts";
import { differentiate, type Graph, sizeOf } from "../../../shared/graph/index.ts";
import { Refusal } from "../../harness/race.ts";
import type { CreateStepper, Stepper } from "../trial.ts";
import type { Problem } from "../workloads.ts";

const SEED = 0;
const MEGABYTE = 1e6;
const STEP = 1;

/** The batch cut into micro-batches. */
function cut({ graph, batch, inputs }: Problem, microBatch: number): MicroBatch[] {
  return Array.from({ length: batch / microBatch }, (_, index) => {
    const part = graph.inputs.map(({ name, shape }): [string, Tensor] => {
      const size = sizeOf(shape.slice(1) as number[]) * microBatch;
      return [name, inputs[name].slice(index * size, (index + 1) * size)];
    });
    return { inputs: Object.fromEntries(part), position: index * microBatch };
  });
}

async function createShardStepper(engine: GradientEngine, problem: Problem, microBatch: number): Promise<Stepper> {
  const microBatches = cut(problem, microBatch);
  const run = async (task: Omit<ShardTask, "step" | "microBatches">) => {
    await engine.setWeights(problem.weights);
    engine.begin({ ...task, step: STEP, microBatches: microBatches.length });
    for (const part of microBatches) await engine.accumulate(part);
    return engine.take();
  };
  const nothing = new Uint8Array(0);
  let last: Contribution | null = null;
  const { maxima } = await run({ work: "calibrate", magnitudeBits: 0, exponents: nothing });
  const exponents = announce(createEnvelope(maxima));
  const bits = magnitudeBits("fixed32", microBatches.length);
  const task = { work: "gradient", magnitudeBits: bits, exponents } as const;
  return {
    async step() {
      if (last !== null) engine.reuse?.(last);
      last = await run(task);
    },
    async gradient() {
      const scales = Array.from(exponents, (exponent) => gridScale(bits, exponent));
      return Float32Array.from(last?.sums ?? [], (value, at) => value / scales[Math.floor(at / BLOCK)]);
    },
    dispose: () => engine.dispose(),
  };
}

const optionsOf = (graph: Graph, microBatch: number) => ({
  graph: differentiate(graph, microBatch),
  microBatch,
  seed: SEED,
});

export const createWebGpuStepper =
  (microBatch: number): CreateStepper =>
  async (problem) => {
    const found = navigator.gpu === undefined ? null : await requestWebGpu(navigator.gpu);
    if (found === null) throw new Refusal("unavailable", "this browser offers no WebGPU adapter");
    const options = optionsOf(problem.graph, microBatch);
    // Buffers are bound whole, so what its kernels move is known from the plan and not from the bindings.
    const { train } = planSession(options.graph, layoutOf(options.graph, microBatch), tuningFor(found.fallback));
    const microBatches = problem.batch / microBatch;
    const moved = movedBytes(train, microBatches);
    const facts = {
      "MB moved": moved / MEGABYTE,
      "moved / compulsory": moved / (microBatches * compulsoryBytes(options.graph, microBatch)),
    };
    const engine = await createWebGpuEngine({ ...options, ...found });
    return { ...(await createShardStepper(engine, problem, microBatch)), facts };
  };

/** Where onnxruntime's `.wasm` is served. */
const ORT_WASM = "/ort/ort-wasm-simd-threaded.wasm";

export const createWasmStepper =
  (workers: number, microBatch: number): CreateStepper =>
  async (problem) => {
    const [{ default: source }, wasm] = await Promise.all([
      import("../../../client/worker/pool.generated.js"),
      fetch(ORT_WASM),
    ]);
    if (!wasm.ok) throw new Refusal("unavailable", `onnxruntime's wasm: ${ORT_WASM} answered ${wasm.status}`);
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const engine = await createBrowserPool({
      ...optionsOf(problem.graph, microBatch),
      workers,
      wasmBinary: await wasm.arrayBuffer(),
      spawn: () => new Worker(url, { type: "module", name: "commonweight-wasm" }),
    });
    URL.revokeObjectURL(url);
    return createShardStepper(engine, problem, microBatch);
  };
