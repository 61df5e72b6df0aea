/**
 * Universal approximation: one hidden layer comes as close to a curve as one likes, if it is wide enough. Widths from 1 to 64
 * are trained on the same curve, each for the same number of steps, and their errors are drawn.
 */

import { type LocalProgress, lineChart, startLocal } from "commonweight/local";
import { dataset, defineSession, loss, nn, optim, schedule } from "commonweight/nn";

const POINTS = 128;
const f = (x: number): number => Math.sin(5 * x) + 0.5 * Math.sin(13 * x + 1);

const x = Float32Array.from({ length: POINTS }, (_, i) => -1 + (2 * i) / (POINTS - 1));
const y = x.map(f);
const datasets = { curve: { columns: { x: { values: x, shape: [1] }, y: { values: y, shape: [1] } } } };

/**
 * The theorem speaks of some weights, not of those that PyTorch would begin with: there all units bend near x = 0, and most of
 * the training goes into moving them apart. Here they begin as steps side by side, as in the proof, and add up to nothing.
 */
function sideBySide(width: number) {
  const steepness = Math.max(2, width);
  const values = (of: (unit: number) => number): Float32Array => Float32Array.from({ length: width }, (_, i) => of(i));
  const centre = (unit: number): number => -1 + (2 * unit + 1) / width;
  return new Map([
    ["0.weight", { shape: [width, 1], values: values(() => steepness) }],
    ["0.bias", { shape: [width], values: values((unit) => -steepness * centre(unit)) }],
    ["2.weight", { shape: [1, width], values: values(() => 0) }],
    ["2.bias", { shape: [1], values: new Float32Array(1) }],
  ]);
}

const describe = (width: number, steps: number) =>
  defineSession({
    title: `width ${width}`,
    model: nn.sequential(nn.linear(1, width), nn.tanh(), nn.linear(width, 1)),
    weights: sideBySide(width),
    input: [1],
    loss: loss.mse(),
    optimizer: optim.adam({ lr: 0.03 }),
    schedule: schedule.cosine(),
    data: dataset("curve", { x: "x", y: "y", train: [0, POINTS] }),
    batchSize: POINTS,
    microBatch: POINTS,
    epochs: steps,
  });

/** Root of the mean square. */
const errorOf = (prediction: Float32Array): number =>
  Math.sqrt(prediction.reduce((sum, value, i) => sum + (value - (y[i] ?? 0)) ** 2, 0) / POINTS);

const curve = (values: ArrayLike<number>): (readonly [number, number])[] =>
  Array.from(x, (at, i) => [at, values[i] ?? 0] as const);

export interface Options {
  readonly widths?: readonly number[];
  readonly steps?: number;
  readonly onProgress?: (progress: LocalProgress) => void;
}

export default async function universalApproximation(options: Options = {}) {
  const { widths = [1, 2, 4, 8, 16, 32, 64], steps = 200, onProgress = () => {} } = options;
  await using local = await startLocal();
  const fits = await Promise.all(
    widths.map(async (width) => {
      const session = await local.create(describe(width, steps), { datasets });
      await session.train({ onProgress });
      const prediction = await session.predict({ x });
      return { width, prediction, error: errorOf(prediction) };
    }),
  );
  const shown = [widths[1], widths[3], widths.at(-1)];
  return {
    fits,
    lines: [
      `one hidden layer of tanh units, ${steps} steps each; the error is the root of the mean square over ${POINTS} points`,
      ...fits.map(({ width, error }) => `width ${String(width).padStart(2)}  error ${error.toFixed(4)}`),
    ],
    figures: {
      "universal-approximation": lineChart({
        title: "The wider the hidden layer, the smaller the error",
        xLabel: "width of the hidden layer",
        yLabel: "error (root mean square)",
        logX: true,
        logY: true,
        series: [
          { name: "error", points: fits.map(({ width, error }) => [width, error] as const) },
          { name: "each width", points: fits.map(({ width, error }) => [width, error] as const), style: "dots" },
        ],
      }),
      "universal-approximation-fits": lineChart({
        title: "What networks of three widths make of the curve",
        xLabel: "x",
        yLabel: "f(x)",
        series: [
          { name: "f(x)", points: curve(y).filter((_, i) => i % 2 === 0), style: "dots" },
          ...fits
            .filter(({ width }) => shown.includes(width))
            .map(({ width, prediction }) => ({ name: `width ${width}`, points: curve(prediction) })),
        ],
      }),
    },
  };
}
