/**
 * What the engines are given: three networks in this project's own words, with weights, inputs and targets that follow
 * from nothing but their sizes. Every contestant computes the gradient of the same loss, summed over the batch, at the
 * same weights; it is compared with the float64 reference executor's. Runs in Node and in pages alike.
 */

import type { Tensor } from "../../client/engine/engine.ts";
import {
  bindShape,
  differentiate,
  estimateCost,
  type Graph,
  initialize,
  parameterLength,
  runReference,
  sizeOf,
} from "../../shared/graph/index.ts";
import { buildGraph, loss, type Module, nn } from "../../shared/nn/index.ts";
import { threefry2x32 } from "../../shared/random/index.ts";
import { leNet } from "../harness/networks.ts";

/** A network's kind and sizes: all that a page has to be told. */
export type Network =
  /** Linear layers with ReLU between them; `sizes` from the input's to the output's. */
  | { readonly kind: "mlp"; readonly sizes: readonly number[] }
  /** LeNet-5 (LeCun 1998) with ReLU and max-pooling: 28×28 pictures, ten classes. */
  | { readonly kind: "cnn" }
  /** Pre-norm transformer blocks over tokens, each predicting the next one. */
  | {
      readonly kind: "gpt";
      readonly layers: number;
      readonly width: number;
      readonly heads: number;
      readonly context: number;
      readonly vocabulary: number;
    };

export interface Workload {
  readonly network: Network;
  /** Samples of one step. */
  readonly batch: number;
  /** Samples of a micro-batch, where a step is several of them. Divides the batch. */
  readonly microBatch: number;
}

export type WorkloadName = Network["kind"];

export const WORKLOADS: { readonly [Kind in WorkloadName]: Workload & { network: { kind: Kind } } } = {
  // For two cores or volunteers, one micro-batch each: fewer and larger ones cost fewer roundings.
  mlp: { network: { kind: "mlp", sizes: [784, 512, 256, 10] }, batch: 128, microBatch: 64 },
  cnn: { network: { kind: "cnn" }, batch: 64, microBatch: 32 },
  gpt: {
    network: { kind: "gpt", layers: 4, width: 128, heads: 4, context: 64, vocabulary: 65 },
    batch: 8,
    microBatch: 2,
  },
};

/** Of a second or less each, to see that all of it runs. */
export const QUICK_WORKLOADS: typeof WORKLOADS = {
  mlp: { network: { kind: "mlp", sizes: [32, 24, 10] }, batch: 16, microBatch: 4 },
  cnn: { network: { kind: "cnn" }, batch: 4, microBatch: 2 },
  gpt: {
    network: { kind: "gpt", layers: 1, width: 16, heads: 2, context: 8, vocabulary: 11 },
    batch: 4,
    microBatch: 2,
  },
};

const PIXELS = 28;
const CLASSES = 10;

export function describeWorkload({ network, batch }: Workload): string {
  switch (network.kind) {
    case "mlp":
      return `MLP ${network.sizes.join("-")}, ReLU, batch ${batch}`;
    case "cnn":
      return `LeNet-5 with ReLU and max-pooling, 28×28, batch ${batch}`;
    case "gpt": {
      const { layers, width, heads, context, vocabulary } = network;
      return `GPT of ${layers} ${layers === 1 ? "layer" : "layers"}, width ${width}, ${heads} heads, context ${context}, ${vocabulary} tokens, batch ${batch}`;
    }
    default:
      return network satisfies never;
  }
}

function graphOf(network: Network): Graph {
  switch (network.kind) {
    case "mlp": {
      const { sizes } = network;
      const layers = sizes.slice(1).flatMap((size, index) => {
        const layer = nn.linear(sizes[index], size);
        return index === 0 ? [layer] : [nn.relu(), layer];
      });
      return buildGraph({ model: nn.sequential(...layers), input: [sizes[0]], loss: loss.crossEntropy() });
    }
    case "cnn":
      return buildGraph({ model: leNet(CLASSES), input: [1, PIXELS, PIXELS], loss: loss.crossEntropy() });
    case "gpt": {
      const { layers, width, heads, context, vocabulary } = network;
      const block = (): Module =>
        nn.transformerBlock(width, heads, {
          dimFeedforward: 4 * width,
          dropout: 0,
          activation: "gelu",
          normFirst: true,
          causal: true,
        });
      const model = nn.sequential(
        nn.embedding(vocabulary, width, { std: 0.02 }),
        nn.learnedPositions(context, width),
        ...Array.from({ length: layers }, block),
        nn.layerNorm(width),
        nn.linear(width, vocabulary),
      );
      const x = { dtype: "int32", shape: [context] } as const;
      return buildGraph({ model, input: { x }, loss: loss.crossEntropy({ classAxis: -1 }) });
    }
    default:
      return network satisfies never;
  }
}

/** Everything that a contestant is given. */
export interface Problem extends Workload {
  readonly graph: Graph;
  /** Flat parameter space. */
  readonly weights: Float32Array;
  /** Of the whole batch, by graph input name; `x` and `y` are what rivals need. */
  readonly inputs: Readonly<Record<string, Tensor>>;
}

const SEED = 1;

/** Whole numbers below 2³² from a stream and a place in it. */
function noise(stream: number): (at: number) => number {
  const out = new Uint32Array(2);
  return (at) => {
    threefry2x32(SEED, stream, at, 0, out);
    return out[0];
  };
}

const classesOf = (network: Network): number => {
  switch (network.kind) {
    case "mlp":
      return network.sizes[network.sizes.length - 1];
    case "cnn":
      return CLASSES;
    case "gpt":
      return network.vocabulary;
    default:
      return network satisfies never;
  }
};

export function createProblem(workload: Workload): Problem {
  const { network, batch } = workload;
  const graph = graphOf(network);
  const classes = classesOf(network);
  const inputs = graph.inputs.map(({ name, shape, dtype, role }, stream): [string, Tensor] => {
    const random = noise(stream);
    const length = sizeOf(bindShape(shape, batch));
    if (role === "weight") return [name, new Float32Array(length).fill(1)];
    if (dtype === "int32") return [name, Int32Array.from({ length }, (_, at) => random(at) % classes)];
    return [name, Float32Array.from({ length }, (_, at) => random(at) / 2 ** 31 - 1)];
  });
  return { ...workload, graph, weights: initialize(graph, SEED), inputs: Object.fromEntries(inputs) };
}

/** Floating-point operations of one step, forward and backward. */
export const flopsOf = ({ graph, batch }: Problem): number => estimateCost(differentiate(graph, batch), batch).flops;

/** The gradient by the float64 reference executor, flat; slow. */
export function referenceGradient({ graph, batch, weights, inputs }: Problem): Float32Array {
  const training = differentiate(graph, batch);
  const values = runReference(training, batch, inputs, weights);
  const gradient = new Float32Array(parameterLength(graph));
  for (const [index, id] of training.gradients.entries()) {
    if (id !== null) gradient.set(values[id], graph.parameters[index].offset);
  }
  return gradient;
}

/** ‖a − b‖ / ‖b‖: relative L2 distance; infinite where anything is not a number. */
export function relativeDistance(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let norm = 0;
  for (let at = 0; at < b.length; at++) {
    difference += (a[at] - b[at]) ** 2;
    norm += b[at] ** 2;
  }
  const distance = Math.sqrt(difference / norm);
  return Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance;
}
