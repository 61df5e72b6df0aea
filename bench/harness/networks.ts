/** Networks that several sections use; and sessions of any size for measuring the coordinator, which sees parameters and bytes and never a sample. */

import { defineSession, localData, loss, type Module, nn, optim } from "../../shared/nn/index.ts";
import type { GradientCodec, SessionDefinition } from "../../shared/session/definition.ts";

/** LeNet-5 (LeCun 1998) with ReLU and max-pooling, on pictures [N, 1, 28, 28]. */
export const leNet = (classes: number): Module =>
  nn.sequential(
    nn.conv2d(1, 6, 5, { padding: 2 }), // [N, 6, 28, 28]
    nn.relu(),
    nn.maxPool2d(2),
    nn.conv2d(6, 16, 5), // [N, 16, 10, 10]
    nn.relu(),
    nn.maxPool2d(2),
    nn.flatten(), // [N, 400]
    nn.linear(400, 120),
    nn.relu(),
    nn.linear(120, 84),
    nn.relu(),
    nn.linear(84, classes),
  );

const FEATURES = 16;
const CLASSES = 10;
const MICRO_BATCH = 32;

export interface NetworkSize {
  /** Wanted; a session has a few less. */
  readonly parameters: number;
  readonly codec: GradientCodec;
  readonly microBatches: number;
  readonly steps: number;
}

/** An MLP 16-n-10 trained by Adam on samples that nobody has. */
export function sessionOfSize({ parameters, codec, microBatches, steps }: NetworkSize): SessionDefinition {
  const width = Math.floor((parameters - CLASSES) / (FEATURES + 1 + CLASSES));
  return defineSession({
    title: `${parameters} parameters`,
    model: nn.sequential(nn.linear(FEATURES, width), nn.relu(), nn.linear(width, CLASSES)),
    input: [FEATURES],
    loss: loss.crossEntropy(),
    optimizer: optim.adam({ lr: 1e-3 }),
    data: localData({
      columns: [
        { name: "x", dtype: "float32", shape: [FEATURES] },
        { name: "y", dtype: "int32", shape: [] },
      ],
      x: "x",
      y: "y",
      samplesPerEpoch: microBatches * MICRO_BATCH * steps,
    }),
    batchSize: microBatches * MICRO_BATCH,
    microBatch: MICRO_BATCH,
    epochs: 1,
    codec,
  });
}

/** "235k", "3M". */
export const shortCount = (count: number): string =>
  count >= 1e6 ? `${count / 1e6}M` : count >= 1000 ? `${count / 1000}k` : String(count);
