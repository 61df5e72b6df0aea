/** What every op is tried with, on every backend: shapes from a scalar to ragged, values from tiny to large. */

import {
  type Dimension,
  IR_VERSION,
  type Node,
  type OpAttributes,
  type OpName,
  type TrainingGraph,
} from "../../shared/graph/index.ts";
import { WINDOW_CASES } from "./window-cases.ts";

type Shape = readonly number[];

export interface Case<Op extends OpName> {
  readonly shapes: readonly Shape[];
  readonly attributes: OpAttributes[Op];
  /** Makes an operand's values from numbers in [−1, 1). */
  readonly values?: (value: number, operand: number) => number;
  /** Operands that are indices: all of them, or the one of this number. */
  readonly integer?: true | number;
}

const RAGGED = [1, 2, 3, 5, 17, 33, 63, 64, 65] as const;

/** A graph of one node over inputs of the given shapes. */
export function single<Op extends OpName>(op: Op, { shapes, attributes, integer }: Case<Op>): TrainingGraph {
  const inputs = shapes.map((shape, index) => ({
    name: `i${index}`,
    dtype: integer === true || integer === index ? ("int32" as const) : ("float32" as const),
    shape: shape as readonly Dimension[],
    role: "feature" as const,
  }));
  const node = { op, inputs: inputs.map((_, index) => index), attributes } as unknown as Node;
  const at = inputs.length;
  const outputs = { prediction: at, loss: at, weight: at, metrics: {} };
  return { irVersion: IR_VERSION, inputs, parameters: [], nodes: [node], outputs, gradients: [] };
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

const stacks = (
  [
    [
      [1, 1, 1],
      [1, 1, 1],
    ],
    [
      [3, 5, 7],
      [3, 7, 2],
    ],
    [
      [2, 3, 8, 4],
      [2, 3, 4, 12],
    ],
    [
      [2, 3, 64, 16],
      [2, 3, 16, 64],
    ],
    [
      [4, 17, 33],
      [33, 5],
    ],
    [
      [4, 8, 16],
      [1, 16, 8],
    ],
    [
      [17, 33],
      [3, 33, 5],
    ],
    [
      [2, 1, 4, 8],
      [3, 8, 4],
    ],
    [
      [2, 1, 3, 5],
      [1, 3, 5, 2],
    ],
    [
      [5, 7],
      [7, 3],
    ],
    [
      [2, 1, 9],
      [2, 9, 1],
    ],
  ] as const
).map((shapes) => ({ shapes, attributes: none }));

const tables = (
  [
    [[7, 4], [5]],
    [
      [7, 5],
      [2, 3],
    ],
    [[1, 8], [4]],
    [[6], [8]],
    [
      [9, 2, 3],
      [3, 2],
    ],
    [
      [65, 32],
      [4, 16],
    ],
    [[5, 4], []],
    [
      [4100, 1],
      [2, 513],
    ],
  ] as const
).map(([table, indices]) => ({ table, indices }));

/** From −2 to some beyond the table. */
const indexed = (depth: number) => (value: number) => Math.floor(((value + 1) / 2) * (depth + 4)) - 2;

/** At least one case by op: an op without any is a type error here. */
export const CASES: { readonly [Op in OpName]: readonly Case<Op>[] } = {
  Constant: [0, 0.1, -3.5, 1e-30, 3e38, 1.1754943508222875e-38].map((value) => ({ shapes: [], attributes: { value } })),
  ConstantVector: [1, 2, 5, 8, 33, 300].map((length) => ({
    shapes: [],
    attributes: { values: Array.from({ length }, (_, at) => Math.sin(at * 7 + length)) },
  })),
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
  Cast: [[5], [2, 3], []].flatMap((shape) => [
    {
      shapes: [shape],
      attributes: { to: "float32" as const },
      integer: true as const,
      values: (v: number) => Math.floor(v * 60_000),
    },
    { shapes: [shape], attributes: { to: "int32" as const }, values: (v: number) => v * 3 },
  ]),
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
  ...WINDOW_CASES,
  MatMul: stacks,
  Sqrt: unary.map((given) => ({ ...given, values: positive })),
  Trilu: [
    [1, 1],
    [5, 5],
    [2, 8, 8],
    [2, 3, 4, 7],
    [9, 4],
  ].flatMap((shape) => [true, false].map((upper) => ({ shapes: [shape], attributes: { upper } }))),
  Gather: tables.map(({ table, indices }) => ({
    shapes: [table, indices],
    attributes: none,
    integer: 1,
    values: (value: number, at: number) => (at === 1 ? indexed(table[0])(value) : value),
  })),
  GatherGrad: tables.map(({ table: [depth, ...rest], indices }) => ({
    shapes: [indices, [...indices, ...rest]],
    attributes: { depth },
    integer: 0,
    values: (value: number, at: number) => (at === 0 ? indexed(depth)(value) : value),
  })),
};

export const describeCase = (op: OpName, { shapes, attributes, values }: Case<OpName>): string =>
  `${op} ${JSON.stringify(shapes)} ${JSON.stringify(attributes)} ${values ?? ""}`;
