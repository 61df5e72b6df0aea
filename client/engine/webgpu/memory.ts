/** The engine's buffers: a few flat ones, bound whole, so that every kernel has the same bindings. */

import { EngineError } from "../engine.ts";
import type { Layout } from "./layout.ts";

/** In the order of their bindings; all of them storage buffers. */
const BINDINGS = [
  { name: "input", access: "read-only-storage" },
  { name: "weights", access: "read-only-storage" },
  { name: "arena", access: "storage" },
  { name: "sums", access: "storage" },
  { name: "stats", access: "storage" },
  { name: "scales", access: "read-only-storage" },
] as const;

type BufferName = (typeof BINDINGS)[number]["name"];

export interface Memory {
  readonly buffers: Readonly<Record<BufferName, GPUBuffer>>;
  /** What is read back is copied here and mapped. */
  readonly staging: GPUBuffer;
  readonly layout: GPUPipelineLayout;
  /** Binds all of it together with the places of a program's kernels, of which `stride` times its number is a kernel's. */
  bind(places: readonly (readonly number[])[]): { readonly bindGroup: GPUBindGroup; readonly stride: number };
  destroy(): void;
}

const WORD = 4;

/**
 * @param readWords most words read back at once
 * Throws EngineError `memory` if a buffer is over the device's limits or cannot be had.
 */
export async function allocate(
  device: GPUDevice,
  layout: Layout,
  arenaWords: number,
  readWords: number,
): Promise<Memory> {
  const words: Record<BufferName, number> = {
    input: layout.inputWords,
    weights: layout.parameters,
    arena: arenaWords,
    sums: layout.parameters,
    stats: layout.statsWords,
    scales: layout.blocks,
  };
  const most = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
  const create = (label: string, count: number, usage: number): GPUBuffer => {
    // At least one vec4f, and whole ones.
    const size = Math.max(1, Math.ceil(count / 4)) * 4 * WORD;
    if (size > most) throw new EngineError("memory", `${label} needs ${size} bytes, this device binds at most ${most}`);
    return device.createBuffer({ label, size, usage });
  };
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const created: GPUBuffer[] = [];
  const destroy = (): void => {
    for (const buffer of created) buffer.destroy();
  };
  device.pushErrorScope("out-of-memory");
  try {
    for (const { name } of BINDINGS) created.push(create(name, words[name], usage));
    created.push(create("staging", readWords, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST));
  } catch (error) {
    await device.popErrorScope();
    destroy();
    throw error;
  }
  const shortage = await device.popErrorScope();
  if (shortage !== null) {
    destroy();
    throw new EngineError("memory", `the GPU's memory does not hold this session: ${shortage.message}`);
  }
  const [input, weights, arena, sums, stats, scales, staging] = created;
  const buffers = { input, weights, arena, sums, stats, scales };
  const bindGroupLayout = device.createBindGroupLayout({
    entries: [
      ...BINDINGS.map(({ access }, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: access },
      })),
      {
        binding: BINDINGS.length,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: "uniform", hasDynamicOffset: true },
      },
    ],
  });
  return {
    buffers,
    staging,
    layout: device.createPipelineLayout({ bindGroupLayouts: [bindGroupLayout] }),
    bind(places) {
      const most = Math.max(4, ...places.map(({ length }) => length));
      const step = Math.ceil((most * WORD) / device.limits.minUniformBufferOffsetAlignment);
      const stride = step * device.limits.minUniformBufferOffsetAlignment;
      const words = new Uint32Array((places.length * stride) / WORD);
      for (const [index, own] of places.entries()) words.set(own, (index * stride) / WORD);
      const buffer = device.createBuffer({
        label: "places",
        size: Math.max(stride, words.byteLength),
        usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
      });
      created.push(buffer);
      device.queue.writeBuffer(buffer, 0, words);
      const bindGroup = device.createBindGroup({
        layout: bindGroupLayout,
        entries: [
          ...BINDINGS.map(({ name }, binding) => ({ binding, resource: { buffer: buffers[name] } })),
          { binding: BINDINGS.length, resource: { buffer, size: stride } },
        ],
      });
      return { bindGroup, stride };
    },
    destroy,
  };
}
