/** What convolutions, pooling and the ops on parts of tensors are tried with: see op-cases.ts. */

import { OPS, type OpAttributes, type PoolAttributes, type WindowAttributes } from "../../shared/graph/index.ts";
import type { Case } from "./op-cases.ts";

type Shape = readonly number[];

/** Input, weights, attributes that differ from the defaults: batch 1, one channel, ragged, stride, dilation, groups. */
type Row = readonly [Shape, Shape, Partial<OpAttributes["ConvTranspose"]>?];

const filled = (axes: number, given: Partial<WindowAttributes> = {}): WindowAttributes => {
  const repeat = (value: number, count = axes): number[] => Array.from({ length: count }, () => value);
  return { strides: repeat(1), pads: repeat(0, 2 * axes), dilations: repeat(1), ...given };
};

const CONVOLUTIONS: readonly Row[] = [
  [
    [1, 1, 1, 1],
    [1, 1, 1, 1],
  ],
  [
    [1, 1, 5, 5],
    [1, 1, 3, 3],
  ],
  [[2, 3, 8, 8], [4, 3, 3, 3], { pads: [1, 1, 1, 1] }],
  [[3, 2, 7, 9], [5, 2, 3, 2], { strides: [2, 3], pads: [1, 0, 2, 1] }],
  [[2, 4, 11, 6], [6, 2, 2, 3], { dilations: [3, 2], pads: [0, 2, 1, 1], group: 2 }],
  [[2, 6, 6, 5], [6, 1, 3, 3], { strides: [2, 1], pads: [1, 1, 1, 1], group: 6 }],
  [
    [1, 3, 4, 4],
    [8, 3, 4, 4],
  ],
  [[2, 3, 1, 4], [2, 3, 3, 1], { pads: [1, 0, 1, 0] }],
  [[4, 5, 13], [7, 5, 3], { strides: [2], pads: [2, 1] }],
  [[1, 4, 9], [4, 2, 2], { dilations: [4], group: 2 }],
  [
    [17, 1, 8],
    [1, 1, 8],
  ],
  // Few outputs of long sums, as in the gradient of weights.
  [[2, 64, 9, 7], [3, 64, 7, 5], { pads: [0, 1, 0, 1] }],
  [
    [3, 96, 19],
    [5, 96, 13],
  ],
];

/** With a bias in every second case. */
const withBias = (shapes: readonly Shape[], outputs: number, index: number): readonly Shape[] =>
  index % 2 === 0 ? shapes : [...shapes, [outputs]];

const TRANSPOSED: readonly Row[] = [
  [
    [1, 1, 1, 1],
    [1, 1, 1, 1],
  ],
  [
    [1, 1, 3, 3],
    [1, 1, 3, 3],
  ],
  [[2, 4, 4, 4], [4, 3, 3, 3], { pads: [1, 1, 1, 1] }],
  [[3, 5, 3, 4], [5, 2, 3, 2], { strides: [2, 3], pads: [1, 0, 0, 1], output_padding: [1, 2] }],
  [[2, 6, 5, 4], [6, 2, 2, 3], { dilations: [3, 2], pads: [0, 2, 1, 1], group: 2 }],
  [[2, 6, 3, 5], [6, 1, 3, 3], { strides: [2, 1], pads: [1, 1, 1, 1], group: 6, output_padding: [1, 0] }],
  [[1, 2, 3, 3], [2, 1, 2, 2], { dilations: [3, 3], output_padding: [2, 1] }],
  [[2, 3, 4], [3, 2, 3], { dilations: [3], pads: [0, 1], output_padding: [2] }],
  [[1, 64, 3, 3], [64, 2, 5, 5], { strides: [2, 2], pads: [2, 2, 2, 2], output_padding: [1, 1] }],
  [[2, 4, 5, 6], [4, 3, 2, 9], { strides: [1, 3], pads: [0, 4, 0, 4] }],
  [[2, 4, 3, 3], [4, 3, 1, 1], { strides: [3, 3], output_padding: [2, 2] }],
  [[4, 7, 5], [7, 5, 3], { strides: [2], pads: [2, 1] }],
  [[1, 4, 3], [4, 2, 2], { dilations: [4], group: 2 }],
];

const POOLS: readonly (readonly [Shape, Partial<PoolAttributes> & { readonly kernel_shape: Shape }])[] = [
  [[1, 1, 1, 1], { kernel_shape: [1, 1] }],
  [[2, 3, 8, 8], { kernel_shape: [2, 2], strides: [2, 2] }],
  [[1, 2, 7, 9], { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 1, 2, 0] }],
  [[3, 1, 5, 6], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }],
  [[2, 2, 1, 4], { kernel_shape: [1, 4] }],
  [[4, 3, 11], { kernel_shape: [3], strides: [2], pads: [1, 2] }],
];

const DILATED: typeof POOLS = [
  [[2, 2, 9, 8], { kernel_shape: [3, 2], strides: [1, 2], pads: [2, 1, 0, 1], dilations: [2, 3] }],
  [[1, 3, 10], { kernel_shape: [4], dilations: [2], pads: [3, 0] }],
];

const maxPools = [...POOLS, ...DILATED].map(([shape, given]) => ({
  shapes: [shape],
  attributes: { ...filled(shape.length - 2, given), kernel_shape: given.kernel_shape },
}));

/** Whole numbers, so that many elements of a window are equally large. */
const ties = (value: number): number => Math.round(value * 2);
const nearLowest = (value: number): number => value * 1e30 - 2e30;

const averages = POOLS.flatMap(([shape, given]) =>
  [true, false].map((count_include_pad) => {
    const { strides, pads } = filled(shape.length - 2, given);
    return { shapes: [shape], attributes: { kernel_shape: given.kernel_shape, strides, pads, count_include_pad } };
  }),
);

const gradients = maxPools.map((given) => {
  const [shape] = given.shapes.map(
    (size) => OPS.MaxPool.infer([{ dtype: "float32", shape: size }], given.attributes, 1).shape,
  );
  return { shapes: [...given.shapes, shape], attributes: given.attributes };
});

type WindowOp = "Conv" | "ConvTranspose" | "MaxPool" | "MaxPoolGrad" | "AveragePool" | "Slice" | "Pad" | "Concat";

export const WINDOW_CASES: { readonly [Op in WindowOp]: readonly Case<Op>[] } = {
  Conv: CONVOLUTIONS.map(([x, w, given = {}], index) => ({
    shapes: withBias([x, w], w[0], index),
    attributes: { ...filled(x.length - 2, given), group: given.group ?? 1 },
  })),
  ConvTranspose: TRANSPOSED.map(([x, w, given = {}], index) => {
    const group = given.group ?? 1;
    const output_padding = given.output_padding ?? x.slice(2).map(() => 0);
    return {
      shapes: withBias([x, w], w[1] * group, index),
      attributes: { ...filled(x.length - 2, given), group, output_padding },
    };
  }),
  MaxPool: [...maxPools, ...maxPools.map((given) => ({ ...given, values: nearLowest }))],
  MaxPoolGrad: [
    ...gradients,
    ...gradients.map((given) => ({ ...given, values: (v: number, at: number) => (at === 0 ? ties(v) : v) })),
  ],
  AveragePool: averages,
  Slice: (
    [
      [[7], [2], [6], [0], [1]],
      [[5, 8], [0], [4], [1], [1]],
      [
        [5, 8],
        [1, 3],
        [5, 8],
        [0, 1],
        [2, 3],
      ],
      [[2, 3, 12], [1], [3], [1], [1]],
      [[2, 3, 12], [4], [12], [2], [4]],
      [
        [3, 4],
        [0, 0],
        [3, 4],
        [0, 1],
        [1, 1],
      ],
      [
        [2, 3, 4, 5],
        [2, 1],
        [3, 2],
        [1, 3],
        [1, 1],
      ],
    ] as const
  ).map(([shape, starts, ends, axes, steps]) => ({ shapes: [shape], attributes: { starts, ends, axes, steps } })),
  Pad: (
    [
      [[1], [0, 3]],
      [[4], [1, 0]],
      [
        [5, 8],
        [0, 4, 0, 4],
      ],
      [
        [5, 8],
        [2, 0, 1, 0],
      ],
      [
        [2, 3, 5],
        [0, 1, 2, 3, 0, 1],
      ],
      [
        [3, 4],
        [0, 0, 0, 0],
      ],
    ] as const
  ).map(([shape, pads]) => ({ shapes: [shape], attributes: { pads } })),
  Concat: (
    [
      [[[3, 4]], 0],
      [
        [
          [3, 4],
          [3, 4],
        ],
        1,
      ],
      [
        [
          [3, 4],
          [1, 4],
          [2, 4],
        ],
        0,
      ],
      [
        [
          [2, 3, 5],
          [2, 1, 5],
          [2, 4, 5],
        ],
        1,
      ],
      [[[1], [2], [3], [4], [5], [6], [7], [8]], 0],
    ] as const
  ).map(([shapes, axis]) => ({ shapes, attributes: { axis } })),
};
