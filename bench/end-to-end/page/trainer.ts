/**
 * Trains MNIST with a library in one tab: its own gradients and its own Adam, on the samples, in the order and from the weights
 * that ours has with the same seed. The clock runs while it trains and stands while accuracy is looked at.
 */

import { initialize, sizeOf } from "../../../shared/graph/index.ts";
import { epochKey, Permutation } from "../../../shared/random/index.ts";
import type { SessionDefinition } from "../../../shared/session/definition.ts";
import { countRight } from "./right.ts";

/** A parameter of a linear layer, as the library holds it: weights [in, out]. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** One library, at one point of its training. */
export interface Learner {
  /** One step of Adam on the mean loss of a batch: x [batch, 784], y [batch]. */
  step(x: Float32Array, y: Int32Array): void | Promise<void>;
  /** Resolves once all steps are done. */
  settle(): Promise<void>;
  /** Scores [samples, 10], flat. */
  predict(x: Float32Array, samples: number): Promise<Float32Array>;
  dispose(): void;
}

export interface LearnerOptions {
  readonly parameters: readonly Parameter[];
  readonly batch: number;
  readonly lr: number;
}

export type CreateLearner = (options: LearnerOptions) => Promise<Learner>;

/** What is learnt from: addresses of pixels and labels. */
export interface Files {
  readonly images: string;
  readonly labels: string;
  readonly testImages: string;
  readonly testLabels: string;
}

export interface Trainer {
  /** Names of the libraries there are. */
  readonly names: readonly string[];
  /** Loads what is learnt from. */
  load(files: Files): Promise<void>;
  /** From the first weights of this session on; compiles and warms up. */
  start(name: string, definition: SessionDefinition): Promise<void>;
  /** So many steps. Milliseconds. */
  train(steps: number): Promise<number>;
  accuracy(): Promise<number>;
}

declare global {
  var trainer: Trainer & { add(name: string, create: CreateLearner): void };
}

const PIXELS = 784;
/** Pictures of one prediction. */
const PART = 1000;

const learners = new Map<string, CreateLearner>();
let pixels = new Uint8Array(0);
let labels = new Uint8Array(0);
let testPixels = new Uint8Array(0);
let testLabels = new Uint8Array(0);
let learner: Learner | null = null;
let position = { seed: 0, batch: 1, samples: 0, step: 0 };

/** Linear weights of ours are [out, in]. */
function parametersOf({ graph, seed }: SessionDefinition): Parameter[] {
  const flat = initialize(graph, seed);
  return graph.parameters.map(({ name, shape, offset }) => {
    const values = flat.slice(offset, offset + sizeOf(shape));
    const [outputs, inputs] = shape;
    if (inputs === undefined) return { name, shape, values };
    const transposed = new Float32Array(values.length);
    for (let out = 0; out < outputs; out++) {
      for (let at = 0; at < inputs; at++) transposed[at * outputs + out] = values[out * inputs + at];
    }
    return { name, shape: [inputs, outputs], values: transposed };
  });
}

const scaled = (from: Uint8Array, at: number, to: Float32Array, into: number): void => {
  for (let pixel = 0; pixel < PIXELS; pixel++) to[into + pixel] = from[at + pixel] / 255;
};

/** The samples that a session with this seed has in this step. */
function fill(x: Float32Array, y: Int32Array): void {
  const { seed, batch, samples, step } = position;
  const stepsPerEpoch = Math.ceil(samples / batch);
  const order = new Permutation(epochKey(seed, Math.floor(step / stepsPerEpoch)), samples);
  const first = (step % stepsPerEpoch) * batch;
  for (let sample = 0; sample < y.length; sample++) {
    const row = order.at(first + sample);
    scaled(pixels, row * PIXELS, x, sample * PIXELS);
    y[sample] = labels[row];
  }
}

/** Samples of the present step: the last one of an epoch may be short. */
function sizeOfStep({ batch, samples, step }: typeof position): number {
  const first = (step % Math.ceil(samples / batch)) * batch;
  return Math.min(batch, samples - first);
}

globalThis.trainer = {
  add: (name, create) => void learners.set(name, create),
  get names() {
    return [...learners.keys()];
  },
  async load(files) {
    const read = async (address: string) => new Uint8Array(await (await fetch(address)).arrayBuffer());
    [pixels, labels, testPixels, testLabels] = await Promise.all(
      [files.images, files.labels, files.testImages, files.testLabels].map(read),
    );
  },
  async start(name, definition) {
    learner?.dispose();
    const create = learners.get(name);
    if (create === undefined) throw new Error(`there is no ${name} here`);
    const { batchSize, optimizer, seed } = definition;
    position = { seed, batch: batchSize, samples: labels.length, step: 0 };
    const options = { parameters: parametersOf(definition), batch: batchSize, lr: optimizer.lr };
    // One that only warms up: compilers settle before the clock runs.
    const other = await create(options);
    const size = batchSize * PIXELS;
    await other.step(new Float32Array(size), new Int32Array(batchSize));
    await other.settle();
    other.dispose();
    learner = await create(options);
  },
  async train(steps) {
    if (learner === null) throw new Error("nothing was started");
    const start = performance.now();
    for (let done = 0; done < steps; done++) {
      const size = sizeOfStep(position);
      const x = new Float32Array(size * PIXELS);
      const y = new Int32Array(size);
      fill(x, y);
      await learner.step(x, y);
      position.step += 1;
    }
    await learner.settle();
    return performance.now() - start;
  },
  async accuracy() {
    if (learner === null) throw new Error("nothing was started");
    let right = 0;
    for (let from = 0; from < testLabels.length; from += PART) {
      const x = new Float32Array(PART * PIXELS);
      for (let sample = 0; sample < PART; sample++) scaled(testPixels, (from + sample) * PIXELS, x, sample * PIXELS);
      const scores = await learner.predict(x, PART);
      right += countRight(scores, testLabels.subarray(from, from + PART));
    }
    return right / testLabels.length;
  },
};
