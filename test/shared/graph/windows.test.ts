import { describe, expect, it } from "vitest";
import {
  differentiate,
  estimateCost,
  type Graph,
  GraphError,
  IR_VERSION,
  inferShapes,
  type Node,
  type OpAttributes,
  type OpName,
  sizeOf,
  validateGraph,
} from "../../../shared/graph/index.ts";
import { alignUp } from "../../../shared/graph/parameters.ts";
import { type Case, describeCase } from "../../client/op-cases.ts";
import { WINDOW_CASES } from "../../client/window-cases.ts";
import { automaticGradient, numericGradient, relativeError } from "./finite-differences.ts";

/** The loss Σ out³ of one op whose operands are all parameters: every cotangent is another. */
function cubed(op: OpName, shapes: readonly (readonly number[])[], attributes: OpAttributes[OpName]): Graph {
  let offset = 0;
  const parameters = shapes.map((shape, index) => {
    const parameter = {
      name: `p${index}`,
      shape,
      offset,
      trainable: true,
      init: { kind: "constant", value: 0 },
    } as const;
    offset += alignUp(sizeOf(shape));
    return parameter;
  });
  const first = 1 + shapes.length;
  const node = { op, inputs: shapes.map((_, index) => index + 1), attributes } as unknown as Node;
  const base = {
    irVersion: IR_VERSION,
    inputs: [{ name: "weight", dtype: "float32", shape: ["N"], role: "weight" }],
    parameters,
  } as const;
  const outputs = { prediction: first, loss: first, weight: first, metrics: {} };
  const rank = inferShapes({ ...base, nodes: [node], outputs }, 1)[first].shape.length;
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  const nodes: Node[] = [
    node,
    { op: "Mul", inputs: [first, first], attributes: {} },
    { op: "Mul", inputs: [first, first + 1], attributes: {} },
    { op: "ReduceSum", inputs: [first + 2], attributes: { axes, keepdims: false } },
    { op: "ReduceSum", inputs: [0], attributes: { axes: [0], keepdims: false } },
  ];
  return { ...base, nodes, outputs: { prediction: first, loss: first + 3, weight: first + 4, metrics: {} } };
}

/** Distinct values at least 0.01 apart, in no order: differences never change which of a window is the largest. */
const apart = (count: number): Float64Array =>
  Float64Array.from({ length: count }, (_, index) => ((index * 7919) % 1009) / 100 - 5);

type Differentiable = Exclude<keyof typeof WINDOW_CASES, "MaxPoolGrad">;

describe("the gradients of ops with windows and parts agree with finite differences", () => {
  for (const op of Object.keys(WINDOW_CASES).filter((name) => name !== "MaxPoolGrad") as Differentiable[]) {
    it(op, () => {
      const cases = (WINDOW_CASES[op] as readonly Case<OpName>[]).filter(({ shapes }) =>
        shapes.every((s) => sizeOf(s) < 400),
      );
      expect(cases.length).toBeGreaterThanOrEqual(5);
      for (const { shapes, attributes } of cases) {
        const graph = cubed(op, shapes, attributes);
        const weights = apart(shapes.reduce((size, shape) => size + alignUp(sizeOf(shape)), 0));
        const sample = { microBatch: 1, inputs: { weight: [1] }, weights };
        const error = relativeError(automaticGradient(graph, sample), numericGradient(graph, sample));
        expect(error, describeCase(op, { shapes, attributes })).toBeLessThan(1e-6);
      }
    });
  }
});

const windows = { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1] };
const steps = { starts: [2], ends: [2], axes: [0], steps: [1] };
const pool = { ...windows, kernel_shape: [3, 3] };

/** What each is refused with. */
const REFUSED: readonly (readonly [OpName, readonly (readonly number[])[], object, RegExp])[] = [
  [
    "Conv",
    [
      [1, 1, 2, 5],
      [1, 1, 3, 3],
    ],
    { ...windows, group: 1 },
    /nothing is left.*takes 3 elements.*there are 2/,
  ],
  [
    "Conv",
    [
      [1, 3, 5, 5],
      [4, 2, 3, 3],
    ],
    { ...windows, group: 1 },
    /3 channels in 1 groups do not fit/,
  ],
  [
    "Conv",
    [
      [1, 4, 5, 5],
      [3, 2, 3, 3],
    ],
    { ...windows, group: 2 },
    /not divisible into 2 groups/,
  ],
  ["Conv", [[1, 1, 5, 5], [1, 1, 3, 3], [2]], { ...windows, group: 1 }, /the bias has shape \[2\], expected \[1\]/],
  [
    "Conv",
    [
      [1, 1, 5],
      [1, 1, 3],
    ],
    { ...windows, group: 1 },
    /strides has 2 numbers, expected 1/,
  ],
  [
    "Conv",
    [
      [1, 1, 2, 2, 2],
      [1, 1, 1, 1, 1],
    ],
    { ...windows, group: 1 },
    /1 to 2 spatial axes/,
  ],
  [
    "ConvTranspose",
    [
      [1, 1, 2, 2],
      [1, 1, 2, 2],
    ],
    { ...windows, pads: [2, 0, 1, 0], group: 1, output_padding: [0, 0] },
    /nothing is left of the output along spatial axis 0/,
  ],
  [
    "ConvTranspose",
    [
      [1, 1, 2, 2],
      [1, 1, 2, 2],
    ],
    { ...windows, group: 1, output_padding: [1, 0] },
    /output_padding 1 is not smaller than stride 1 or dilation 1/,
  ],
  ["MaxPool", [[1, 1, 2, 5]], pool, /nothing is left/],
  ["MaxPool", [[1, 1, 5, 5]], { ...pool, pads: [3, 0, 0, 0] }, /nothing but padding/],
  [
    "MaxPool",
    [[1, 1, 1, 5]],
    { ...pool, kernel_shape: [2, 1], dilations: [2, 1], pads: [1, 0, 1, 0] },
    /nothing but padding/,
  ],
  ["Slice", [[5]], steps, /2 to 2 is no part of axis 0 of \[5\]/],
  ["Slice", [[5]], { ...steps, ends: [6] }, /2 to 6 is no part/],
  ["Pad", [[5]], { pads: [1] }, /there are 1 pads/],
  [
    "Concat",
    [
      [2, 3],
      [2, 4],
    ],
    { axis: 0 },
    /differ in more than axis 0/,
  ],
];

describe("what does not fit is refused with what was expected and what came", () => {
  it.each(REFUSED)("%s of %j", (op, shapes, attributes, message) => {
    const infer = () => cubed(op, shapes, attributes as OpAttributes[OpName]);
    expect(infer).toThrow(GraphError);
    expect(infer).toThrow(message);
  });

  it("and so are attributes that would overflow", () => {
    const graph = cubed(
      "Conv",
      [
        [1, 1, 5, 5],
        [1, 1, 3, 3],
      ],
      { ...windows, group: 1 },
    );
    const [conv, ...rest] = graph.nodes;
    const budget = { parameters: 100, nodes: 10, microBatch: 1 };
    expect(validateGraph(graph, budget).nodes).toHaveLength(5);
    for (const strides of [
      [0, 1],
      [1, 2 ** 20],
      [1.5, 1],
    ]) {
      const changed = { ...conv, attributes: { ...conv.attributes, strides } };
      expect(() => validateGraph({ ...graph, nodes: [changed, ...rest] }, budget)).toThrow(/node 0 \(Conv\), strides/);
    }
  });
});

describe("cost", () => {
  it("counts a convolution's multiply-adds and its columns", () => {
    const graph = cubed(
      "Conv",
      [
        [2, 3, 8, 8],
        [4, 3, 3, 3],
      ],
      { ...windows, pads: [1, 1, 1, 1], group: 1 },
    );
    const { flops, activationBytes } = estimateCost(graph, 1);
    const outputs = 2 * 4 * 8 * 8;
    expect(flops).toBe(2 * outputs * 27 + 3 * outputs + 1);
    expect(activationBytes).toBe(4 * (3 * outputs + 2 + 2 * 27 * 64));
  });

  it("is about as much again for each of both gradients", () => {
    const graph = cubed(
      "Conv",
      [
        [2, 3, 8, 8],
        [4, 3, 3, 3],
      ],
      { ...windows, pads: [1, 1, 1, 1], group: 1 },
    );
    const convolutions = differentiate(graph, 1).nodes.filter(({ op }) => op === "Conv" || op === "ConvTranspose");
    expect(convolutions.map(({ op }) => op)).toEqual(["Conv", "ConvTranspose", "Conv"]);
  });
});
