/** A small session for the SDK's tests: y = x·w with two features, squared error, twelve samples to train on. */

import type { Graph } from "../../shared/graph/ir.ts";
import { optim } from "../../shared/nn/index.ts";
import type { ColumnSpec, SessionDefinition } from "../../shared/session/definition.ts";
import { buildDataset } from "./sdk-fake.ts";

export const GRAPH: Graph = {
  irVersion: 1,
  inputs: [
    { name: "x", dtype: "float32", shape: ["N", 2], role: "feature" },
    { name: "y", dtype: "float32", shape: ["N", 1], role: "target" },
    { name: "weight", dtype: "float32", shape: ["N"], role: "weight" },
  ],
  parameters: [{ name: "0.weight", shape: [1, 2], offset: 0, trainable: true, init: { kind: "constant", value: 0 } }],
  nodes: [
    { op: "Gemm", inputs: [0, 3], attributes: { transA: false, transB: true } }, // 4: [N, 1]
    { op: "Sub", inputs: [4, 1], attributes: {} }, // 5: [N, 1]
    { op: "Mul", inputs: [5, 5], attributes: {} }, // 6: [N, 1]
    { op: "Reshape", inputs: [6], attributes: { shape: [-1] } }, // 7: [N]
    { op: "Mul", inputs: [7, 2], attributes: {} }, // 8: [N]
    { op: "ReduceSum", inputs: [8], attributes: { axes: [0], keepdims: false } }, // 9: []
    { op: "ReduceSum", inputs: [2], attributes: { axes: [0], keepdims: false } }, // 10: []
  ],
  outputs: { prediction: 4, loss: 9, weight: 10, metrics: { correct: 10 } },
};

/** Floats of the flat parameter array: two and padding. */
export const PARAMETERS = 4;

const BASE = {
  format: 1,
  title: "A line",
  description: "",
  contact: "",
  dataLicence: "",
  modelLicence: "",
  graph: GRAPH,
  optimizer: optim.sgd({ lr: 0.1 }),
  batchSize: 10,
  microBatch: 4,
  epochs: 5,
  maxSteps: null,
  seed: 3,
  codec: "fixed32",
  visibility: "public",
} as const;

const COLUMNS: readonly ColumnSpec[] = [
  { name: "features", dtype: "uint8", shape: [2] },
  { name: "answer", dtype: "float32", shape: [1] },
];

const INPUTS = {
  x: { column: "features", scale: 0.5, offset: 1 },
  y: { column: "answer", scale: 1, offset: 0 },
} as const;

export const HOSTED: SessionDefinition = {
  ...BASE,
  data: { source: "dataset", dataset: "fake", inputs: INPUTS, train: [0, 12], validation: [12, 17], test: [17, 20] },
};

export const LOCAL: SessionDefinition = {
  ...BASE,
  data: { source: "local", columns: COLUMNS, inputs: INPUTS, samplesPerEpoch: 12 },
};

/** Twenty samples: features (2i, 2i + 1), answer 100 + i. */
export const VALUES = {
  features: Array.from({ length: 40 }, (_, i) => i),
  answer: Array.from({ length: 20 }, (_, i) => 100 + i),
};

export function hostedDataset(chunkSamples = 6): ReturnType<typeof buildDataset> {
  const columns = [
    { name: "features", dtype: "uint8", shape: [2], values: VALUES.features },
    { name: "answer", dtype: "float32", shape: [1], values: VALUES.answer },
  ] as const;
  return buildDataset(columns, 20, chunkSamples);
}
