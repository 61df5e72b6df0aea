/** Fisher's irises: three species told apart by four lengths, from a table of 150 flowers. */

import { dataset, defineSession, loss, nn, optim } from "commonweight/nn";

export default defineSession({
  title: "Irises",
  description:
    "A small network tells three species of iris apart by the lengths and widths of their petals and sepals.",
  dataLicence: "R. A. Fisher, 1936, after E. Anderson; see examples/data/README.md",
  modelLicence: "CC0",
  model: nn.sequential(nn.linear(4, 16), nn.tanh(), nn.linear(16, 3)),
  input: [4],
  loss: loss.crossEntropy(),
  optimizer: optim.adam({ lr: 0.02 }),
  data: dataset("iris", { x: "features", y: "species", train: [0, 90], validation: [90, 120], test: [120, 150] }),
  batchSize: 30,
  microBatch: 15,
  epochs: 30,
});

/** Lengths are normalised by the mean and deviation of the 90 flowers that are trained on. */
export const datasets = {
  iris: {
    csv: {
      file: new URL("./data/iris.csv", import.meta.url),
      target: "species",
      split: { train: 0.6, validation: 0.2, test: 0.2 },
    },
  },
};
