/**
 * Activations: what each does to the gradient on its way through ten layers, and how many ReLU units die when the learning rate
 * is too large.
 */

import { type LocalProgress, lineChart, startLocal, type Tensor } from "commonweight/local";
import { dataset, defineSession, loss, type Module, nn, optim } from "commonweight/nn";

const [POINTS, WIDTH] = [128, 32];

// Points spread evenly over a square, and whether they lie in its circle.
const x = Float32Array.from({ length: 2 * POINTS }, (_, i) => {
  const point = Math.floor(i / 2) + 1;
  return ((point * (i % 2 === 0 ? 0.7548776662 : 0.569840291)) % 1) * 2 - 1;
});
const y = Float32Array.from({ length: POINTS }, (_, i) => (Math.hypot(x[2 * i] ?? 0, x[2 * i + 1] ?? 0) < 0.8 ? 1 : 0));
const datasets = { circle: { columns: { x: { values: x, shape: [2] }, y: { values: y, shape: [1] } } } };

const ACTIVATIONS: Readonly<Record<string, () => Module>> = {
  sigmoid: nn.sigmoid,
  tanh: nn.tanh,
  ReLU: nn.relu,
  "leaky ReLU": nn.leakyRelu,
  GELU: nn.gelu,
};

/** Names of the weights of the layers, first to last: layers and activations take turns. */
const layerNames = (depth: number): string[] => Array.from({ length: depth }, (_, layer) => `${2 * layer}.weight`);

/**
 * First weights of variance 2 ÷ inputs, and no bias (He et al., https://arxiv.org/abs/1502.01852), by which a signal keeps its size through
 * layers of ReLU. The same ones for every activation.
 */
function heWeights(depth: number): ReadonlyMap<string, Tensor> {
  let state = 1;
  const uniform = (): number => {
    // The generator of Park and Miller: exact in doubles.
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
  const normal = (): number => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  const tensors = layerNames(depth).flatMap((name, layer): [string, Tensor][] => {
    const [inputs, outputs] = [layer === 0 ? 2 : WIDTH, layer === depth - 1 ? 1 : WIDTH];
    const values = Float32Array.from({ length: inputs * outputs }, () => normal() * Math.sqrt(2 / inputs));
    return [
      [name, { shape: [outputs, inputs], values }],
      [name.replace("weight", "bias"), { shape: [outputs], values: new Float32Array(outputs) }],
    ];
  });
  return new Map(tensors);
}

function describe(title: string, activation: () => Module, depth: number, lr: number, steps: number) {
  const hidden = Array.from({ length: depth - 1 }, (_, layer) => [
    nn.linear(layer === 0 ? 2 : WIDTH, WIDTH),
    activation(),
  ]);
  return defineSession({
    title,
    model: nn.sequential(...hidden.flat(), nn.linear(WIDTH, 1)),
    weights: heWeights(depth),
    input: [2],
    loss: loss.bceWithLogits(),
    optimizer: optim.sgd({ lr }),
    data: dataset("circle", { x: "x", y: "y", train: [0, POINTS] }),
    batchSize: POINTS,
    epochs: steps,
  });
}

/** So large a rate that one step of w ← w − α ∂L/∂w leaves nothing but the gradient, of however small a size. */
const PROBE = 1e6;

const normOf = (name: string, before: ReadonlyMap<string, Tensor>, after: ReadonlyMap<string, Tensor>): number => {
  const first = before.get(name)?.values ?? [];
  return Math.hypot(...(after.get(name)?.values ?? []).map((value, i) => ((first[i] ?? 0) - value) / PROBE));
};

/** Part of the hidden ReLU units that are 0 at every point, and so never change again. */
function deadShare(weights: ReadonlyMap<string, Tensor>, depth: number): number {
  let signals = Array.from({ length: POINTS }, (_, i) => [...x.subarray(2 * i, 2 * i + 2)]);
  let dead = 0;
  for (const name of layerNames(depth).slice(0, -1)) {
    const weight = weights.get(name)?.values ?? new Float32Array();
    const bias = weights.get(name.replace("weight", "bias"))?.values ?? new Float32Array();
    signals = signals.map((signal) =>
      Array.from(bias, (b, unit) =>
        Math.max(
          0,
          signal.reduce((sum, value, i) => sum + value * (weight[unit * signal.length + i] ?? 0), b),
        ),
      ),
    );
    dead += Array.from(bias.keys()).filter((unit) => signals.every((signal) => signal[unit] === 0)).length;
  }
  return dead / ((depth - 1) * WIDTH);
}

export interface Options {
  /** Layers of the network that gradients are measured in. */
  readonly depth?: number;
  readonly rates?: readonly number[];
  /** Steps at each rate. */
  readonly steps?: number;
  readonly onProgress?: (progress: LocalProgress) => void;
}

export default async function activations(options: Options = {}) {
  const { depth = 10, rates = [0.1, 0.3, 1, 3, 10, 30], steps = 60, onProgress = () => {} } = options;
  const shallow = 4;
  await using local = await startLocal();

  const gradients = await Promise.all(
    Object.entries(ACTIVATIONS).map(async ([name, activation]) => {
      const session = await local.create(describe(name, activation, depth, PROBE, 1), { datasets });
      const before = await session.weights();
      await session.train({ onProgress });
      const after = await session.weights();
      return { name, norms: layerNames(depth).map((layer) => normOf(layer, before, after)) };
    }),
  );
  const deaths = await Promise.all(
    rates.map(async (rate) => {
      const session = await local.create(describe(`ReLU, rate ${rate}`, nn.relu, shallow, rate, steps), { datasets });
      await session.train({ onProgress });
      return { rate, dead: deadShare(await session.weights(), shallow) };
    }),
  );

  return {
    gradients,
    deaths,
    lines: [
      `the gradient's norm at first, in the first and in the last of ${depth} layers`,
      ...gradients.map(({ name, norms: [first = 0, ...others] }) => {
        const last = others.at(-1) ?? 0;
        return `${name.padEnd(10)}  ${first.toExponential(1)}  ${last.toExponential(1)}  ratio ${(first / last).toExponential(1)}`;
      }),
      `hidden ReLU units that are 0 at every point after ${steps} steps, ${shallow} layers`,
      ...deaths.map(
        ({ rate, dead }) => `learning rate ${String(rate).padEnd(5)} ${(dead * 100).toFixed(0).padStart(3)} %`,
      ),
    ],
    figures: {
      "vanishing-gradients": lineChart({
        title: "How much of the gradient reaches each layer",
        xLabel: "layer, 1 being the first",
        yLabel: "norm of the gradient before training",
        logY: true,
        series: gradients.map(({ name, norms }) => ({
          name,
          points: norms.map((norm, layer) => [layer + 1, norm] as const),
        })),
      }),
      "dead-units": lineChart({
        title: "ReLU units that died",
        xLabel: "learning rate",
        yLabel: `part of the hidden units, after ${steps} steps`,
        logX: true,
        yRange: [0, 1],
        series: [{ name: "dead", points: deaths.map(({ rate, dead }) => [rate, dead] as const) }],
      }),
    },
  };
}
