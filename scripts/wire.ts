/**
 * What each codec of gradient sums costs and saves: trains one small network on MNIST in this process, with every codec from the
 * same seeds, and prints the bits that a sum took and how the loss ended beside that of `fixed32`.
 * Arguments: --steps, --seeds and --codecs, the last a list with commas.
 */

import { parseArgs } from "node:util";
import { codecNames, type GradientCodec } from "../shared/codec/index.ts";
import { parameterLength } from "../shared/graph/index.ts";
import { buildGraph, loss, nn, optim } from "../shared/nn/index.ts";
import { sampleIndex } from "../shared/random/index.ts";
import { readMnistTraining } from "../test/fixtures/mnist.ts";
import { trainInProcess } from "../test/parity/in-process.ts";

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "400" },
    seeds: { type: "string", default: "5" },
    codecs: { type: "string", default: "fixed16,packed12,packed10,packed8,packed7,packed6,packed5,packed4" },
  },
});
const [steps, seeds] = [Number(values.steps), Number(values.seeds)];
const codecs = values.codecs.split(",").map((name) => {
  const known = codecNames.find((codec) => codec === name);
  if (known === undefined) throw new Error(`no codec ${name}: there are ${codecNames.join(", ")}`);
  return known;
});

const BATCH = 256;
const MICRO = 32;
const SAMPLES = 55_000;
/** Steps at the end whose mean loss is compared. */
const LAST = 50;

const { images, labels } = readMnistTraining();
const graph = buildGraph({
  model: nn.sequential(nn.linear(784, 64), nn.relu(), nn.linear(64, 32), nn.relu(), nn.linear(32, 10)),
  loss: loss.crossEntropy(),
  input: [784],
});
const parameters = parameterLength(graph);
const stepsPerEpoch = Math.floor(SAMPLES / BATCH);
const weight = new Float32Array(MICRO).fill(1);

const mean = (numbers: readonly number[]): number => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
function deviation(numbers: readonly number[]): number {
  const middle = mean(numbers);
  return Math.sqrt(numbers.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (numbers.length - 1));
}

async function train(codec: GradientCodec, seed: number): Promise<{ loss: number; bits: number }> {
  let bytes = 0;
  let sums = 0;
  const losses = await trainInProcess({
    graph,
    optimizer: optim.adam({ lr: 1e-3 }),
    plan: {
      trainSamples: stepsPerEpoch * BATCH,
      validationSamples: 0,
      testSamples: 0,
      batchSize: BATCH,
      microBatch: MICRO,
      stepsPerEpoch,
      totalSteps: steps,
    },
    seed,
    codec,
    microBatch: (step, index) => {
      const x = new Float32Array(MICRO * 784);
      const y = new Int32Array(MICRO);
      for (let row = 0; row < MICRO; row++) {
        const position = (step % stepsPerEpoch) * BATCH + index * MICRO + row;
        const at = sampleIndex(seed, Math.floor(step / stepsPerEpoch), SAMPLES, position);
        for (let pixel = 0; pixel < 784; pixel++) x[row * 784 + pixel] = images[at * 784 + pixel] / 255;
        y[row] = labels[at];
      }
      return { inputs: { x, y, weight }, position: index * MICRO };
    },
    sent: (_, encoded) => {
      bytes += encoded.byteLength;
      sums += parameters;
    },
  });
  return { loss: mean(losses.slice(-LAST)), bits: (bytes * 8) / sums };
}

const allOf = async (codec: GradientCodec): Promise<Awaited<ReturnType<typeof train>>[]> => {
  const found = [];
  for (let seed = 0; seed < seeds; seed++) found.push(await train(codec, seed));
  return found;
};

const base = await allOf("fixed32");
const spread = deviation(base.map(({ loss }) => loss));
console.log(`MNIST, ${parameters} parameters, ${steps} steps, ${seeds} seeds: mean loss of the last ${LAST} steps`);
console.log(
  `fixed32   32.00 bits a sum   loss ${mean(base.map(({ loss }) => loss)).toFixed(4)}   seeds spread it by ${spread.toFixed(4)}`,
);
for (const codec of codecs) {
  const found = await allOf(codec);
  const differences = found.map(({ loss }, seed) => loss - base[seed].loss);
  const bits = mean(found.map((run) => run.bits)).toFixed(2);
  const verdict = Math.abs(mean(differences)) <= spread ? "within" : "MORE THAN";
  console.log(
    `${codec.padEnd(9)} ${bits.padStart(5)} bits a sum   paired difference ${mean(differences).toFixed(4)} ± ${deviation(differences).toFixed(4)}, ${verdict} a seed's spread`,
  );
}
