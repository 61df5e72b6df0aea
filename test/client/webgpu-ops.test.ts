import { describe, expect, it } from "vitest";
import type { Tuning } from "../../client/engine/webgpu/product.ts";
import {
  type Dimension,
  IR_VERSION,
  inferShapes,
  type Node,
  OPS,
  type OpAttributes,
  type OpName,
  runReference,
  sizeOf,
  type TrainingGraph,
} from "../../shared/graph/index.ts";
import { openDevice } from "./webgpu-device.ts";
import { numbers, relativeError, runOnGpu } from "./webgpu-run.ts";

const gpu = await openDevice();

type Shape = readonly number[];

interface Case<Op extends OpName> {
  readonly shapes: readonly Shape[];
  readonly attributes: OpAttributes[Op];
  /** Makes an operand's values from numbers in [−1, 1). */
  readonly values?: (value: number, operand: number) => number;
  /** Operands that are class indices. */
  readonly integer?: true;
}

const RAGGED = [1, 2, 3, 5, 17, 33, 63, 64, 65] as const;

/** A graph of one node over inputs of the given shapes. */
function single<Op extends OpName>(op: Op, { shapes, attributes, integer }: Case<Op>): TrainingGraph {
  const inputs = shapes.map((shape, index) => ({
    name: `i${index}`,
    dtype: integer ? ("int32" as const) : ("float32" as const),
    shape: shape as readonly Dimension[],
    role: "feature" as const,
  }));
  const node = { op, inputs: inputs.map((_, index) => index), attributes } as unknown as Node;
  const at = inputs.length;
  const outputs = { prediction: at, loss: at, weight: at, metrics: {} };
  return { irVersion: IR_VERSION, inputs, parameters: [], nodes: [node], outputs, gradients: [] };
}

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

const none = {};
const pairs: readonly (readonly [Shape, Shape])[] = [
  [
    [5, 7],
    [5, 7],
  ],
  [[5, 8], [8]],
  [[8], [5, 8]],
  [
    [5, 8],
    [5, 1],
  ],
  [
    [3, 1, 4],
    [2, 1],
  ],
  [[33], []],
  [
    [65, 12],
    [1, 12],
  ],
];
const binary = pairs.map((shapes) => ({ shapes, attributes: none }));
const unary = [[1], [4], [33], [5, 12], [2, 3, 5]].map((shape) => ({ shapes: [shape], attributes: none }));
const positive = (value: number): number => Math.abs(value) + 0.1;
const wide = (value: number): number => value * 200;
const tiny = (value: number): number => value * 1e-3;
const near = (scale: number) => unary.map((given) => ({ ...given, values: (value: number) => value * scale }));

const reductions = (
  [
    [[7], [0]],
    [[5, 9], [1]],
    [[5, 9], [0]],
    [
      [5, 9],
      [0, 1],
    ],
    [[3, 4, 5], [1]],
    [
      [3, 4, 5],
      [0, 2],
    ],
    [[2, 300], [1]],
    [[1000, 3], [0]],
    [[4, 1], [1]],
    [
      [70, 5, 2],
      [0, 1, 2],
    ],
  ] as const
).flatMap(([shape, axes]) =>
  [true, false].map((keepdims) => ({
    shapes: [shape],
    attributes: { axes, keepdims },
    values: (v: number) => v + 0.3,
  })),
);

const rows = (
  [
    [[5, 7], 1],
    [[5, 7], 0],
    [[3, 4, 6], 1],
    [[33], 0],
    [[4, 500], 1],
    [[6, 1], 1],
  ] as const
).map(([shape, axis]) => ({ shapes: [shape], attributes: { axis } }));

const products = RAGGED.flatMap((size, index) => {
  const inner = RAGGED[(index + 3) % RAGGED.length];
  const columns = RAGGED[(index + 5) % RAGGED.length];
  return [
    [size, inner, columns],
    [size, 64, 12],
    [12, size, 20],
    [16, 8, size],
  ];
}).flatMap(([m, k, n]) =>
  [
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ].map(([transA, transB]) => ({
    shapes: [transA ? [k, m] : [m, k], transB ? [n, k] : [k, n], ...(m % 2 === 0 ? [[n]] : [])],
    attributes: { transA, transB },
  })),
);

const reshapes = (
  [
    [
      [6, 4],
      [4, 6],
    ],
    [
      [2, 3, 4],
      [6, 4],
    ],
    [
      [2, 3, 4],
      [2, 12],
    ],
    [
      [5, 1, 8],
      [5, 8],
    ],
    [[15], [-1, 5]],
  ] as const
).map(([shape, to]) => ({ shapes: [shape], attributes: { shape: to } }));

/** At least one case by op: an op without any is a type error here. */
const CASES: { readonly [Op in OpName]: readonly Case<Op>[] } = {
  Constant: [0, 0.1, -3.5, 1e-30, 3e38, 1.1754943508222875e-38].map((value) => ({ shapes: [], attributes: { value } })),
  DropoutMask: [[5], [4, 8], [7, 3], []].map((shape, layer) => ({
    shapes: [],
    attributes: { probability: 0.3, layer, shape },
  })),
  Gemm: products,
  Add: binary,
  Sub: binary,
  Mul: binary,
  Div: binary.map((given) => ({ ...given, values: (v: number, at: number) => (at === 1 ? positive(v) : v) })),
  Max: binary,
  Neg: unary,
  Abs: unary,
  Sign: unary,
  Exp: [...unary, ...near(40)],
  Log: unary.map((given) => ({ ...given, values: positive })),
  Erf: [...unary, ...near(1e-3), ...near(10)],
  Tanh: [...unary, ...near(1e-3), ...near(200)],
  Sigmoid: [...unary, ...near(200)],
  Softplus: [...unary, ...near(200), ...unary.map((given) => ({ ...given, values: (v: number) => -12 - v }))],
  Relu: unary,
  LeakyRelu: unary.map(({ shapes }) => ({ shapes, attributes: { alpha: 0.01 } })),
  Softmax: [...rows, ...rows.map((given) => ({ ...given, values: wide }))],
  LogSoftmax: [...rows, ...rows.map((given) => ({ ...given, values: wide }))],
  ReduceSum: reductions,
  ReduceMax: [...reductions, ...reductions.map((given) => ({ ...given, values: (v: number) => -1e30 + v * 1e29 }))],
  ArgMax: [...rows, ...rows.map((given) => ({ ...given, values: (v: number) => Math.round(v * 2) }))],
  OneHot: [[5], [2, 3], []].map((shape) => ({
    shapes: [shape],
    attributes: { depth: 8 },
    integer: true as const,
    values: (v: number) => Math.floor(v * 6 + 4),
  })),
  Reshape: reshapes,
  Transpose: (
    [
      [
        [3, 5],
        [1, 0],
      ],
      [
        [8, 4],
        [1, 0],
      ],
      [
        [2, 3, 4],
        [2, 0, 1],
      ],
      [
        [2, 3, 4],
        [0, 2, 1],
      ],
    ] as const
  ).map(([shape, perm]) => ({ shapes: [shape], attributes: { perm } })),
  Expand: (
    [
      [
        [1, 4],
        [3, 4],
      ],
      [
        [5, 1],
        [5, 8],
      ],
      [[], [2, 3]],
      [[4], [2, 4]],
    ] as const
  ).map(([from, shape]) => ({ shapes: [from], attributes: { shape } })),
};

const describeCase = (op: OpName, { shapes, attributes, values }: Case<OpName>): string =>
  `${op} ${JSON.stringify(shapes)} ${JSON.stringify(attributes)} ${values ?? ""}`;

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
  it.each(["Gemm", "ReduceSum", "ReduceMax", "Softmax", "LogSoftmax", "ArgMax"] as const)(
    "%s agrees too",
    async (op) => {
      for (const given of (CASES[op] as readonly Case<OpName>[]).filter(
        (_, index) => op !== "Gemm" || index % 3 === 0,
      )) {
        expect(await errorOf(op, given, { threads, workgroup: 64 }), describeCase(op, given)).toBeLessThanOrEqual(1e-5);
      }
    },
  );
});

describe("values that are tiny or large", () => {
  it("keeps the digits of tanh and erf near 0", async () => {
    for (const op of ["Tanh", "Erf"] as const) {
      expect(await errorOf(op, { shapes: [[64]], attributes: none, values: tiny })).toBeLessThanOrEqual(1e-6);
    }
  });
});

describe("inferred shapes", () => {
  it("are those of the values kept", () => {
    const graph = single("Transpose", CASES.Transpose[2]);
    expect(inferShapes(graph, 1)[1].shape).toEqual([4, 2, 3]);
  });
});
