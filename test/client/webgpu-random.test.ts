import { describe, expect, it } from "vitest";
import { IR_VERSION, type TrainingGraph } from "../../shared/graph/index.ts";
import { fillDropoutMask, threefry2x32 } from "../../shared/random/index.ts";
import { THREEFRY_WGSL } from "../../shared/random/threefry.wgsl.ts";
import { openDevice } from "./webgpu-device.ts";
import { runOnGpu } from "./webgpu-run.ts";

const gpu = await openDevice();

/** Threefry of key and counter quadruples on the GPU, two words each. */
async function threefryOnGpu(quadruples: Uint32Array<ArrayBuffer>): Promise<Uint32Array> {
  const { device } = gpu;
  const count = quadruples.length / 4;
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const given = device.createBuffer({ size: quadruples.byteLength, usage });
  const made = device.createBuffer({ size: count * 8, usage });
  const staging = device.createBuffer({ size: count * 8, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(given, 0, quadruples);
  const code = `${THREEFRY_WGSL}
@group(0) @binding(0) var<storage, read> given: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> made: array<vec2u>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < ${count}u) { made[id.x] = threefry2x32(given[id.x].xy, given[id.x].zw); }
}`;
  const pipeline = device.createComputePipeline({
    layout: "auto",
    compute: { module: device.createShaderModule({ code }) },
  });
  const entries = [given, made].map((buffer, binding) => ({ binding, resource: { buffer } }));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(Math.ceil(count / 64));
  pass.end();
  encoder.copyBufferToBuffer(made, 0, staging, 0, count * 8);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  return new Uint32Array(staging.getMappedRange().slice(0));
}

describe("Threefry in WGSL", () => {
  it("gives the published test vectors", async () => {
    // Random123, kat_vectors: threefry2x32 20.
    const vectors = [
      { given: [0, 0, 0, 0], made: [0x6b200159, 0x99ba4efe] },
      { given: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], made: [0x1cb996fc, 0xbb002be7] },
      { given: [0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3], made: [0xc4923a9c, 0x483df7a0] },
    ];
    const got = await threefryOnGpu(Uint32Array.from(vectors.flatMap(({ given }) => given)));
    expect([...got]).toEqual(vectors.flatMap(({ made }) => made));
  });

  it("gives the bits of TypeScript for ten thousand keys and counters", async () => {
    const quadruples = new Uint32Array(40_000);
    const words = new Uint32Array(2);
    for (let at = 0; at < quadruples.length; at += 2) {
      threefry2x32(1, 2, at, 3, words);
      quadruples.set(words, at);
    }
    const expected = new Uint32Array(20_000);
    for (let at = 0; at < 10_000; at++) {
      const [k0, k1, c0, c1] = quadruples.subarray(4 * at);
      threefry2x32(k0, k1, c0, c1, expected.subarray(2 * at));
    }
    expect(await threefryOnGpu(quadruples)).toEqual(expected);
  });
});

describe("dropout masks computed in the kernel", () => {
  const masks = (
    layers: readonly { layer: number; probability: number; shape: readonly number[] }[],
  ): TrainingGraph => ({
    irVersion: IR_VERSION,
    inputs: [{ name: "weight", dtype: "float32", shape: ["N"], role: "weight" }],
    parameters: [],
    nodes: layers.map((attributes) => ({ op: "DropoutMask", inputs: [], attributes })),
    outputs: { prediction: 1, loss: 0, weight: 0, metrics: {} },
    gradients: [],
  });

  it.each([
    { shape: [64], why: "four at a time" },
    { shape: [33], why: "one at a time" },
    { shape: [4, 6], why: "of several axes" },
    { shape: [], why: "of whole samples" },
  ])("are the bits of TypeScript $why", async ({ shape }) => {
    const layers = [
      { layer: 0, probability: 0.25, shape },
      { layer: 7, probability: 0.9, shape },
      { layer: 3, probability: 0, shape },
    ];
    const context = { seed: 0xdeadbeef, step: 41, position: 4_000_000_000 };
    const microBatch = 6;
    const options = { microBatch, inputs: {}, context };
    const got = await runOnGpu(gpu, masks(layers), [1, 2, 3], options);
    const units = shape.reduce((product, size) => product * size, 1);
    for (const [index, { layer, probability }] of layers.entries()) {
      const expected = new Float32Array(microBatch * units);
      const { seed, step, position } = context;
      fillDropoutMask(seed, step, layer, probability, position, microBatch, units, expected);
      expect(got.get(index + 1)).toEqual(expected);
    }
  });
});
