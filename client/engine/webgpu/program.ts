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
  /** Operations of one run. */
  readonly work: number;
}

/** Throws EngineError `compile`. */
export async function compile(device: GPUDevice, memory: Memory, plan: Plan): Promise<Program> {
  const steps = plan.kernels.map(async ({ code, workgroups, work }, index): Promise<Step> => {
    try {
      const pipeline = await device.createComputePipelineAsync({
        layout: memory.layout,
        compute: { module: device.createShaderModule({ code }) },
      });
      return { pipeline, workgroups, work };
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new EngineError("compile", `kernel ${index} of ${plan.kernels.length} does not compile: ${why}`, { cause });
    }
  });
  return { plan, steps: await Promise.all(steps), work: plan.kernels.reduce((sum, { work }) => sum + work, 0) };
}

/** Hands one run to the GPU, in as many submits as keep each below `submitWork` operations. */
export function run(
  device: GPUDevice,
  memory: Memory,
  { steps }: Program,
  submitWork: number,
  counters: Counters,
): void {
  for (let next = 0; next < steps.length; ) {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setBindGroup(0, memory.bindGroup);
    let work = 0;
    do {
      const { pipeline, workgroups } = steps[next];
      pass.setPipeline(pipeline);
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
