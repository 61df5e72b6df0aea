/** Handwritten digits again, by a convolutional network of 16 and 32 channels: about 99 % in four epochs. */

import { defineSession, loss, nn, optim } from "commonweight/nn";
import mlp, { datasets } from "./mnist.ts";

/** The data set and its parts are those of mnist.ts. */
export { datasets };

export default defineSession({
  title: "Handwritten digits, convolutional",
  description:
    "Two convolutions and a linear layer learn to read MNIST's digits: 55,000 to learn from, 5,000 held out, 10,000 for the test.",
  dataLicence: mlp.dataLicence,
  modelLicence: "CC0",
  model: nn.sequential(
    nn.conv2d(1, 16, 3, { padding: 1 }), // [N, 16, 28, 28]
    nn.relu(),
    nn.maxPool2d(2), // [N, 16, 14, 14]
    nn.conv2d(16, 32, 3, { padding: 1 }),
    nn.relu(),
    nn.maxPool2d(2), // [N, 32, 7, 7]
    nn.flatten(),
    nn.dropout(0.25),
    nn.linear(32 * 7 * 7, 10),
  ),
  input: [1, 28, 28],
  loss: loss.crossEntropy(),
  optimizer: optim.adam({ lr: 2e-3 }),
  data: mlp.data,
  batchSize: 128,
  epochs: 4,
});
