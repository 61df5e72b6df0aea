/** The trainings that ways over the line are compared on: MNIST, and a small GPT that reads a text character by character. */

import { join } from "node:path";
import { importText } from "../../cli/importers/text.ts";
import { packageRoot } from "../../cli/root.ts";
import { buildGraph, loss, nn, optim } from "../../shared/nn/index.ts";
import { sampleIndex } from "../../shared/random/index.ts";
import type { Program } from "../../test/parity/in-process.ts";
import { valuesOf } from "../harness/mnist.ts";

/** A training by its seed, of so many steps. */
export type MakeProgram = (seed: number, steps: number) => Program;

const PIXELS = 784;

interface Batches {
  readonly samples: number;
  readonly batch: number;
  readonly micro: number;
}

function planOf({ samples, batch, micro }: Batches, steps: number): Program["plan"] {
  const stepsPerEpoch = Math.floor(samples / batch);
  return {
    trainSamples: stepsPerEpoch * batch,
    validationSamples: 0,
    testSamples: 0,
    batchSize: batch,
    microBatch: micro,
    stepsPerEpoch,
    totalSteps: steps,
  };
}

/** Sample by sample of a micro-batch: which one, by the shuffle of its epoch. */
function* samplesOf({ samples, batch, micro }: Batches, seed: number, step: number, index: number): Generator<number> {
  const stepsPerEpoch = Math.floor(samples / batch);
  const epoch = Math.floor(step / stepsPerEpoch);
  const first = (step % stepsPerEpoch) * batch + index * micro;
  for (let row = 0; row < micro; row++) yield sampleIndex(seed, epoch, stepsPerEpoch * batch, first + row);
}

/** Micro-batches of labelled pictures, as a session with `scale: 1 / 255` has them. */
export function pictureBatches(
  { images, labels }: { readonly images: Uint8Array; readonly labels: Uint8Array },
  batches: Batches,
  seed: number,
): Program["microBatch"] {
  const weight = new Float32Array(batches.micro).fill(1);
  return (step, index) => {
    const x = new Float32Array(batches.micro * PIXELS);
    const y = new Int32Array(batches.micro);
    let row = 0;
    for (const at of samplesOf(batches, seed, step, index)) {
      for (let pixel = 0; pixel < PIXELS; pixel++) x[row * PIXELS + pixel] = images[at * PIXELS + pixel] * (1 / 255);
      y[row++] = labels[at];
    }
    return { inputs: { x, y, weight }, position: index * batches.micro };
  };
}

function mnist(): MakeProgram {
  const pictures = { images: valuesOf("images"), labels: valuesOf("labels") };
  const batches = { samples: 55_000, batch: 256, micro: 32 };
  const graph = buildGraph({
    model: nn.sequential(nn.linear(PIXELS, 64), nn.relu(), nn.linear(64, 32), nn.relu(), nn.linear(32, 10)),
    loss: loss.crossEntropy(),
    input: [PIXELS],
  });
  return (seed, steps) => ({
    graph,
    optimizer: optim.adam({ lr: 1e-3 }),
    plan: planOf(batches, steps),
    seed,
    microBatch: pictureBatches(pictures, batches, seed),
  });
}

/** Two layers of width 64 and 4 heads, 32 characters of Moby-Dick at a time. */
function charGpt(): MakeProgram {
  const [characters, context, width] = [83, 32, 64];
  const { content } = importText({ file: join(packageRoot, "examples/data/moby-dick.txt"), vocabulary: "characters" });
  const [text] = content.rows;
  const batches = { samples: Math.floor((text.length - 1) / context), batch: 32, micro: 8 };
  const tokens = nn.embedding(characters, width, { std: 0.1 });
  const block = () =>
    nn.transformerBlock(width, 4, {
      dimFeedforward: 4 * width,
      dropout: 0,
      activation: "gelu",
      normFirst: true,
      causal: true,
    });
  const graph = buildGraph({
    model: nn.sequential(
      tokens,
      nn.learnedPositions(context, width, { std: 0.1 }),
      block(),
      block(),
      nn.layerNorm(width),
      nn.linear(width, characters, { bias: false, weightOf: tokens }),
    ),
    input: { x: { dtype: "int32", shape: [context] } },
    loss: loss.crossEntropy({ classAxis: -1 }),
  });
  const weight = new Float32Array(batches.micro).fill(1);
  return (seed, steps) => ({
    graph,
    optimizer: optim.adamW({ lr: 2e-3 }),
    plan: planOf(batches, steps),
    seed,
    microBatch: (step, index) => {
      const x = new Int32Array(batches.micro * context);
      const y = new Int32Array(batches.micro * context);
      let row = 0;
      for (const window of samplesOf(batches, seed, step, index)) {
        const at = window * context;
        x.set(text.subarray(at, at + context), row * context);
        y.set(text.subarray(at + 1, at + 1 + context), row * context);
        row += 1;
      }
      return { inputs: { x, y, weight }, position: index * batches.micro };
    },
  });
}

export interface Training {
  readonly about: string;
  readonly load: () => MakeProgram;
  readonly steps: number;
}

export const TRAININGS: Readonly<Record<string, Training>> = {
  mnist: { about: "MNIST by 784-64-32-10, batch 256, Adam", load: mnist, steps: 400 },
  gpt: { about: "a GPT of 2 layers and width 64 on Moby-Dick, batch 32, AdamW", load: charGpt, steps: 400 },
};
