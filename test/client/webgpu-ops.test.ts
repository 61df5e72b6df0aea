import { describe, expect, it } from "vitest";
import { layoutOf } from "../../client/engine/webgpu/layout.ts";
import { planProgram } from "../../client/engine/webgpu/plan.ts";
import { type Tuning, VARIANTS } from "../../client/engine/webgpu/tuning.ts";
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

// Few threads: the largest tiles, one thread a row. Many: small tiles, and workgroups that share a row, by subgroups or by halves.
describe.each([
  { threads: 1, subgroups: false },
  { threads: 1e6, subgroups: false },
  { threads: 1e6, subgroups: true },
])("cut for an adapter of $threads threads, with subgroups: $subgroups", ({ threads, subgroups }) => {
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
        await errorOf(op, given, { threads, subgroups, workgroup: 64, tile: 256 }),
        describeCase(op, given),
      ).toBeLessThanOrEqual(1e-5);
    }
  });
});

describe.each(Object.entries(VARIANTS))("products cut as %s", (_, tuning) => {
  it.each(["Gemm", "MatMul", "GatherGrad"] as const)("%s agrees", async (op) => {
    for (const given of (CASES[op] as readonly Case<OpName>[]).filter((_, index) => index % 3 === 1)) {
      expect(await errorOf(op, given, tuning), describeCase(op, given)).toBeLessThanOrEqual(1e-5);
    }
  });

  // Every edge of tiles of 32 and 64 rows or columns and of stages of 16 inner elements, and none of them.
  it.each([
    [64, 32, 64],
    [4, 4, 4],
    [68, 20, 132],
    [33, 36, 100],
    [10, 128, 12],
  ])("a product of %i×%i and %i columns agrees in every order", async (rows, inner, columns) => {
    for (const [transA, transB] of [
      [false, false],
      [false, true],
      [true, false],
    ]) {
      const shapes = [transA ? [inner, rows] : [rows, inner], transB ? [columns, inner] : [inner, columns]];
      const given: Case<"Gemm"> = { shapes, attributes: { transA, transB } };
      expect(await errorOf("Gemm", given, tuning), describeCase("Gemm", given)).toBeLessThanOrEqual(1e-5);
    }
  });
});

describe.each([false, true])("a row that a workgroup shares, with subgroups: %s", (subgroups) => {
  const tuning = { threads: 1e6, workgroup: 64, tile: 256, subgroups };
  const graph = single("ReduceMax", { shapes: [[3, 100]], attributes: { axes: [1], keepdims: false } });
  const output = graph.outputs.prediction;

  it("is folded by them only where they are asked for", () => {
    const { kernels } = planProgram(graph, layoutOf(graph, 1), tuning, [[output, { kind: "keep" }]]);
    const codes = kernels.map(({ code }) => code);
    expect(codes.some((code) => code.includes("workgroupBarrier"))).toBe(true);
    expect(codes.some((code) => code.startsWith("enable subgroups;"))).toBe(subgroups);
  });

  it.each([0, 3, 63, 64, 99])("has a NaN as its largest wherever there is one: at %i", async (at) => {
    const values = numbers(1, 300);
    values.fill(Number.NEGATIVE_INFINITY, 100, 200);
    values[at] = Number.NaN;
    values[199 - at] = 7;
    values[200 + at] = Number.POSITIVE_INFINITY;
    const got = await runOnGpu(gpu, graph, [output], { microBatch: 1, inputs: { i0: values }, tuning });
    expect([...got.get(output)!]).toEqual([Number.NaN, 7, Number.POSITIVE_INFINITY]);
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
