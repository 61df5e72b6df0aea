/** A GPT that reads and writes character by character: 4 layers, width 128, 4 heads, 64 characters at a time, on Moby-Dick. */

import { dataset, defineSession, loss, nn, optim, schedule } from "commonweight/nn";

const characters = 83;
const context = 64;
const width = 128;

const tokens = nn.embedding(characters, width, { std: 0.1 });
const block = () =>
  nn.transformerBlock(width, 4, {
    dimFeedforward: 4 * width,
    dropout: 0, // of a text that is read once nothing is learnt by heart
    activation: "gelu",
    normFirst: true,
    causal: true,
  });

export default defineSession({
  title: "Moby-Dick, character by character",
  description:
    "A transformer of four layers learns to continue the text of Herman Melville's novel, 64 characters at a time.",
  dataLicence: "Public domain (Herman Melville, 1851)",
  modelLicence: "CC0",
  model: nn.sequential(
    tokens, // [N, 64] → [N, 64, 128]
    nn.learnedPositions(context, width, { std: 0.1 }),
    block(),
    block(),
    block(),
    block(),
    nn.layerNorm(width),
    nn.linear(width, characters, { bias: false, weightOf: tokens }), // [N, 64, 83]
  ),
  input: { x: { dtype: "int32", shape: [context] } },
  loss: loss.crossEntropy({ classAxis: -1 }),
  optimizer: optim.adamW({ lr: 4e-3, betas: [0.9, 0.95], weightDecay: 0.1 }),
  schedule: schedule.warmup(25, schedule.cosine(), 0.04),
  clipping: { norm: 1 },
  data: dataset("moby-dick", {
    x: "tokens",
    y: { column: "tokens", shift: 1 },
    window: context,
    train: [0, 1_070_000],
    validation: [1_070_000, 1_130_000],
    test: [1_130_000, 1_190_317],
  }),
  batchSize: 32,
  microBatch: 8,
  epochs: 1,
  maxSteps: 500,
});

/** Pushed if the coordinator lacks it: a token a character. */
export const datasets = { "moby-dick": { text: { file: "data/moby-dick.txt", vocabulary: "characters" } } };

/** What it writes once it is trained. */
export const generate = { prompt: "Call me", length: 300, temperature: 0.8 };
