/**
 * A test of an imported model: what it says of a sample must not depend on which others are in the batch. An export with a
 * fixed batch says nothing of where the batch went in its reshapes; a wrong guess would show here, and so does a model that
 * really mixes samples, which no data parallelism can train exactly.
 */

import { estimateCost } from "../graph/cost.ts";
import { GraphError } from "../graph/error.ts";
import { givenWeights } from "../graph/given.ts";
import { initialize } from "../graph/initialize.ts";
import type { Graph } from "../graph/ir.ts";
import { inferenceGraph, predictionNodes } from "../graph/prune.ts";
import { runReference } from "../graph/reference.ts";
import { bindShape } from "../graph/shapes.ts";
import { sizeOf } from "../graph/tensor.ts";
import { threefry2x32, uniformFloat } from "../random/index.ts";

const SAMPLES = 3;
/** Indices that are tried are below it: any table has so many rows, or reads zeros. */
const INDICES = 4;
const SEED = 0;
/** Floating-point operations that the slow reference is asked for: a few seconds. */
const MAX_FLOPS = 3e8;
const TOLERANCE = 1e-9;

function numbers(count: number): Float64Array {
  const words = new Uint32Array(2);
  return Float64Array.from({ length: count }, (_, index) => {
    threefry2x32(SEED, SEED, index, 0, words);
    return 2 * uniformFloat(words[0]) - 1;
  });
}

/**
 * Whether it was tried: not for graphs that the reference takes long for. Throws GraphError `shape` where a sample's
 * prediction is another one among other samples.
 */
export function checkIndependence(graph: Graph): boolean {
  if (estimateCost(graph, SAMPLES).flops > MAX_FLOPS) return false;
  const inference = inferenceGraph(graph);
  const { nodes, prediction } = predictionNodes(inference);
  const model: Graph = { ...inference, nodes };
  const weights = initialize(graph, SEED, givenWeights(graph));
  const features = graph.inputs.filter(({ role }) => role === "feature");
  const run = (from: number, to: number): Float64Array => {
    const inputs = features.map(({ name, dtype, shape }) => {
      const size = sizeOf(bindShape(shape, 1));
      const given = numbers(size * SAMPLES);
      const values = dtype === "int32" ? given.map((value) => Math.floor(((value + 1) / 2) * INDICES)) : given;
      return [name, values.subarray(from * size, to * size)] as const;
    });
    return runReference(model, to - from, Object.fromEntries(inputs), weights)[prediction];
  };
  const together = run(0, SAMPLES);
  const size = together.length / SAMPLES;
  for (let sample = 0; sample < SAMPLES; sample++) {
    const alone = run(sample, sample + 1);
    const scale = Math.max(...alone.map(Math.abs), 1);
    if (
      alone.length === size &&
      alone.every((value, at) => Math.abs(value - together[sample * size + at]) <= TOLERANCE * scale)
    ) {
      continue;
    }
    throw new GraphError(
      "shape",
      "a sample's prediction depends on the others of its batch: export the model with dynamic_axes for the batch, and without statistics over it",
    );
  }
  return true;
}
