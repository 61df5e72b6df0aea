import { describe, expect, it } from "vitest";
import type { Tuning } from "../../client/engine/webgpu/product.ts";
import { inferShapes, OPS, type OpName, runReference, sizeOf } from "../../shared/graph/index.ts";
import { CASES, type Case, describeCase, single } from "./op-cases.ts";
import { openDevice } from "./webgpu-device.ts";
import { numbers, relativeError, runOnGpu } from "./webgpu-run.ts";

const gpu = await openDevice();

async function errorOf<Op extends OpName>(op: Op, given: Case<Op>, tuning?: Tuning): Promise<number> {
  const graph = single(op, given);
  const inputs: Record<string, Float32Array> = {};
  for (const [index, shape] of given.shapes.entries()) {
    const change = given.values ?? ((value: number) => value * 3);
    inputs[`i${index}`] = numbers(index + 7, sizeOf(shape)).map((value) => change(value, index));
  }
  const microBatch = 1;
  const output = graph.outputs.prediction;
  const got = await runOnGpu(gpu, graph, [output], { microBatch, inputs, ...(tuning === undefined ? {} : { tuning }) });
  const expected = runReference(graph, microBatch, inputs, [])[output];
  return relativeError(got.get(output)!, expected);
}

describe("every op on WebGPU agrees with the float64 reference", () => {
  for (const op of Object.keys(OPS) as OpName[]) {
    it(op, async () => {
      for (const given of CASES[op] as readonly Case<OpName>[]) {
        expect(await errorOf(op, given), describeCase(op, given)).toBeLessThanOrEqual(1e-5);
      }
    });
  }
});

// Few threads: the largest tiles, one thread a row. Many: small tiles, and workgroups that share a row.
describe.each([1, 1e6])("cut for an adapter of %i threads", (threads) => {
  it.each([
    "Gemm",
    "MatMul",
    "ReduceSum",
    "ReduceMax",
    "Softmax",
    "LogSoftmax",
    "ArgMax",
    "Conv",
    "ConvTranspose",
    "MaxPoolGrad",
  ] as const)("%s agrees too", async (op) => {
    for (const given of (CASES[op] as readonly Case<OpName>[]).filter(
      (_, index) => (op !== "Gemm" && op !== "MatMul") || index % 3 === 0,
    )) {
      expect(
        await errorOf(op, given, { threads, workgroup: 64, tile: 256 }),
        describeCase(op, given),
      ).toBeLessThanOrEqual(1e-5);
    }
  });
});

describe("values that are tiny or large", () => {
  it("keeps the digits of tanh and erf near 0", async () => {
    for (const op of ["Tanh", "Erf"] as const) {
      expect(
        await errorOf(op, { shapes: [[64]], attributes: {}, values: (value) => value * 1e-3 }),
      ).toBeLessThanOrEqual(1e-6);
    }
  });
});

describe("inferred shapes", () => {
  it("are those of the values kept", () => {
    const graph = single("Transpose", CASES.Transpose[2]);
    expect(inferShapes(graph, 1)[1].shape).toEqual([4, 2, 3]);
  });
});
