/** A plan compiled for one device, and how it is run. */

import { EngineError } from "../engine.ts";
import type { Memory } from "./memory.ts";
import type { Plan } from "./plan.ts";

/** What happened so far, for diagnosis. */
export interface Counters {
  microBatches: number;
  dispatches: number;
  submits: number;
  uploadedBytes: number;
  readBytes: number;
}

interface Step {
  readonly pipeline: GPUComputePipeline;
  readonly workgroups: readonly [number, number];
  readonly work: number;
}

export interface Program {
  readonly plan: Plan;
  readonly steps: readonly Step[];
  readonly bindGroup: GPUBindGroup;
  /** Bytes from one step's places to the next one's. */
  readonly stride: number;
  /** Operations of one run. */
  readonly work: number;
}

/** Pipelines of one memory by their text. */
export type Pipelines = Map<string, Promise<GPUComputePipeline>>;

/**
 * All at once, and each text once: the layers of a network are mostly alike, and so are its programs' forward passes.
 * Throws EngineError `compile`.
 * @param pipelines compiled before; what is new is added
 */
export async function compile(
  device: GPUDevice,
  memory: Memory,
  plan: Plan,
  pipelines: Pipelines = new Map(),
): Promise<Program> {
  const pipelineOf = (code: string): Promise<GPUComputePipeline> => {
    const held = pipelines.get(code);
    if (held !== undefined) return held;
    const compute = { module: device.createShaderModule({ code }) };
    const pipeline = device.createComputePipelineAsync({ layout: memory.layout, compute });
    pipelines.set(code, pipeline);
    return pipeline;
  };
  const steps = plan.kernels.map(async ({ code, workgroups, work }, index): Promise<Step> => {
    try {
      return { pipeline: await pipelineOf(code), workgroups, work };
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new EngineError("compile", `kernel ${index} of ${plan.kernels.length} does not compile: ${why}`, { cause });
    }
  });
  const bound = memory.bind(plan.kernels.map(({ places }) => places));
  return {
    plan,
    steps: await Promise.all(steps),
    ...bound,
    work: plan.kernels.reduce((sum, { work }) => sum + work, 0),
  };
}

/** Hands one run to the GPU, in as many submits as keep each below `submitWork` operations. */
export function run(
  device: GPUDevice,
  { steps, bindGroup, stride }: Program,
  submitWork: number,
  counters: Counters,
): void {
  for (let next = 0; next < steps.length; ) {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    let work = 0;
    do {
      const { pipeline, workgroups } = steps[next];
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup, [next * stride]);
      pass.dispatchWorkgroups(workgroups[0], workgroups[1]);
      work += steps[next].work;
      counters.dispatches += 1;
      next += 1;
    } while (next < steps.length && work + steps[next].work <= submitWork);
    pass.end();
    device.queue.submit([encoder.finish()]);
    counters.submits += 1;
  }
}
