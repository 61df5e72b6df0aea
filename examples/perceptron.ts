/**
 * The perceptron: one neuron, sigmoid(w₁x₁ + w₂x₂ + b), parts two classes of points by a line, and the line is drawn.
 */

import { type LocalProgress, lineChart, startLocal, type Tensor } from "commonweight/local";
import { dataset, defineSession, loss, nn, optim } from "commonweight/nn";

const POINTS = 160;

// Points spread evenly over the square, on either side of a line that the neuron does not know; none lies close to it.
const x: number[] = [];
const y: number[] = [];
for (let i = 1; y.length < POINTS; i++) {
  const point = [((i * 0.7548776662) % 1) * 2 - 1, ((i * 0.569840291) % 1) * 2 - 1] as const;
  const side = 0.8 * point[0] - 0.6 * point[1] + 0.15;
  if (Math.abs(side) < 0.08) continue;
  x.push(...point);
  y.push(side > 0 ? 1 : 0);
}

const datasets = {
  "two-sides": {
    columns: { x: { values: Float32Array.from(x), shape: [2] }, y: { values: Float32Array.from(y), shape: [1] } },
  },
};

interface Neuron {
  readonly w1: number;
  readonly w2: number;
  readonly b: number;
}

const neuronOf = (weights: ReadonlyMap<string, Tensor>): Neuron => {
  const [[w1 = 0, w2 = 0] = [], [b = 0] = []] = ["0.weight", "0.bias"].map((name) => [
    ...(weights.get(name)?.values ?? []),
  ]);
  return { w1, w2, b };
};

/** Part of the points that it puts on their side: sigmoid(z) is above ½ where z is above 0. */
const accuracyOf = ({ w1, w2, b }: Neuron): number =>
  y.filter((label, i) => w1 * (x[2 * i] ?? 0) + w2 * (x[2 * i + 1] ?? 0) + b > 0 === (label === 1)).length / POINTS;

/** Where w₁x₁ + w₂x₂ + b = 0, from the left edge of the square to the right. */
const lineOf = ({ w1, w2, b }: Neuron): (readonly [number, number])[] =>
  [-1, 1].map((x1) => [x1, -(w1 * x1 + b) / w2] as const);

const pointsOf = (label: number): (readonly [number, number])[] =>
  y.flatMap((own, i) => (own === label ? [[x[2 * i] ?? 0, x[2 * i + 1] ?? 0] as const] : []));

const describe = (when: string, neuron: Neuron): string => {
  const [w1, w2, b] = [neuron.w1, neuron.w2, neuron.b].map((value) => value.toFixed(3).padStart(7));
  return `${when}  w₁ ${w1}  w₂ ${w2}  b ${b}  on the right side: ${(accuracyOf(neuron) * 100).toFixed(1)} %`;
};

export interface Options {
  readonly epochs?: number;
  readonly seed?: number;
  readonly onProgress?: (progress: LocalProgress) => void;
}

export default async function perceptron({ epochs = 60, seed = 3, onProgress = () => {} }: Options = {}) {
  await using local = await startLocal({ clients: 2 });
  const session = await local.create(
    defineSession({
      title: "Perceptron",
      model: nn.sequential(nn.linear(2, 1), nn.sigmoid()),
      input: [2],
      loss: loss.bce(),
      optimizer: optim.sgd({ lr: 10 }), // w ← w − α ∂L/∂w
      data: dataset("two-sides", { x: "x", y: "y", train: [0, POINTS] }),
      batchSize: POINTS,
      epochs,
      seed,
    }),
    { datasets },
  );
  const before = neuronOf(await session.weights());
  const { steps } = await session.train({ onProgress });
  const after = neuronOf(await session.weights());

  const slope = -after.w1 / after.w2;
  const height = -after.b / after.w2;
  return {
    before,
    after,
    accuracy: accuracyOf(after),
    lines: [
      `one neuron, ${POINTS} points, ${steps} steps of plain gradient descent by 2 volunteers`,
      describe("before", before),
      describe("after ", after),
      `its line: x₂ = ${slope.toFixed(2)} x₁ + ${height.toFixed(2)}; the points were parted by x₂ = 1.33 x₁ + 0.25`,
    ],
    figures: {
      perceptron: lineChart({
        title: "One neuron parts two classes",
        xLabel: "x₁",
        yLabel: "x₂",
        xRange: [-1, 1],
        yRange: [-1, 1],
        series: [
          { name: "class 0", points: pointsOf(0), style: "dots" },
          { name: "class 1", points: pointsOf(1), style: "dots" },
          { name: "w·x + b = 0", points: lineOf(after) },
          { name: "before training", points: lineOf(before), style: "faint" },
        ],
        height: 480,
      }),
    },
  };
}
