/** PyTorch's losses and activations (test/fixtures/losses.py) as graphs of this project. */

import { readFileSync } from "node:fs";
import { differentiate, initialize, type TrainingGraph } from "../../../shared/graph/index.ts";
import { buildGraph, type Loss, loss, type Module, nn } from "../../../shared/nn/index.ts";

export interface LossCase {
  readonly name: string;
  readonly loss: string;
  readonly options: object;
  readonly activation: string;
  readonly samples: number;
  /** Of one sample's prediction. */
  readonly shape: readonly number[];
  readonly x: readonly number[];
  readonly weight: readonly number[];
  readonly bias: readonly number[];
  readonly y: readonly number[];
  readonly prediction: readonly number[];
  /** PyTorch's `mean`, and its gradients by weight and bias. */
  readonly value: number;
  readonly gradients: readonly (readonly number[])[];
}

export const LOSS_CASES = JSON.parse(
  readFileSync(new URL("../../fixtures/losses.json", import.meta.url), "utf8"),
) as readonly LossCase[];

const ACTIVATIONS: Readonly<Record<string, () => Module>> = {
  none: () => nn.sequential(),
  relu: nn.relu,
  sigmoid: nn.sigmoid,
  tanh: nn.tanh,
  leakyRelu: () => nn.leakyRelu(),
  gelu: () => nn.gelu(),
  geluTanh: () => nn.gelu({ approximate: "tanh" }),
  elu: () => nn.elu(),
  "elu1.7": () => nn.elu(1.7),
  silu: nn.silu,
  softplus: () => nn.softplus(),
  "softplus2.5": () => nn.softplus({ beta: 2.5, threshold: 3 }),
  softmax: () => nn.softmax(),
  softmax1: () => nn.softmax(1),
  logSoftmax: () => nn.logSoftmax(),
  logSoftmax1: () => nn.logSoftmax(1),
};

const FEATURES = 5;

export const makeLoss = (name: string, options: object): Loss =>
  (loss as unknown as Record<string, (options: object) => Loss>)[name](options);

/** A linear layer, its output as samples of `shape`, the activation and the loss. */
export function graphOf(
  given: Pick<LossCase, "loss" | "options" | "activation" | "shape">,
): ReturnType<typeof buildGraph> {
  const { shape } = given;
  const reshape: Module = {
    kind: "reshape",
    build: (to, input) => to.emit("Reshape", [input], { shape: [0, ...shape] }),
  };
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  const model = nn.sequential(nn.linear(FEATURES, size), reshape, ACTIVATIONS[given.activation]());
  return buildGraph({ model, loss: makeLoss(given.loss, given.options), input: [FEATURES] });
}

export interface Prepared {
  readonly graph: TrainingGraph;
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  readonly weights: Float64Array;
}

/** Everything that a lowering needs to run the case. */
export function prepare(given: LossCase): Prepared {
  const graph = graphOf(given);
  const weights = Float64Array.from(initialize(graph, 0));
  weights.set(given.weight, graph.parameters[0].offset);
  weights.set(given.bias, graph.parameters[1].offset);
  return {
    graph: differentiate(graph, given.samples),
    inputs: { x: given.x, y: given.y, weight: new Array<number>(given.samples).fill(1) },
    weights,
  };
}

/** The relative L2 error of each: the loss, the prediction and both gradients. */
export function errorsOf(
  { value, prediction, gradients }: LossCase,
  got: { loss: number; weight: number; prediction: ArrayLike<number>; gradients: readonly ArrayLike<number>[] },
): number[] {
  const expected = [[value], prediction, ...gradients];
  const mean = (sums: ArrayLike<number>): number[] => Array.from(sums, (sum) => sum / got.weight);
  return [mean([got.loss]), got.prediction, ...got.gradients.map(mean)].map((values, index) => {
    const want = expected[index];
    if (values.length !== want.length) return Number.POSITIVE_INFINITY;
    const difference = Math.hypot(...want.map((held, at) => held - values[at]));
    return difference === 0 ? 0 : difference / Math.max(Math.hypot(...want), 1e-30);
  });
}
