/**
 * The memory traffic that a micro-batch's gradients cost at the least, for a program of one kernel a product with all else
 * fused into them: what a plan's own traffic (`Kernel.bytes`) is measured against.
 *
 * In memory are inputs, parameters and the results of products and windows. Each of them is read once in the forward pass
 * and once in the backward pass if anything there needs it, results are written once, and so is each gradient, into the
 * sums. Everything else (activations, softmax, norms, losses, their gradients) is computed where it is needed.
 */

import type { OpName, TrainingGraph, ValueId } from "../../../shared/graph/ir.ts";
import { metricNames } from "../../../shared/graph/parameters.ts";
import { firstNode, inferShapes } from "../../../shared/graph/shapes.ts";
import { sizeOf } from "../../../shared/graph/tensor.ts";
import type { Plan } from "./plan.ts";

/** Ops whose results are in memory. */
const PRODUCTS: ReadonlySet<OpName> = new Set([
  "Gemm",
  "MatMul",
  "Conv",
  "ConvTranspose",
  "MaxPool",
  "MaxPoolGrad",
  "AveragePool",
  "GatherGrad",
] as const);

/** Ops that leave every element as it is: the gradient behind one is the product before it. */
const VIEWS: ReadonlySet<OpName> = new Set(["Reshape", "Transpose"] as const);

const BYTES = 4;

/**
 * Bytes that a plan moves for a shard of so many micro-batches: the first puts its gradients where the sums go, the others
 * read those sums to add to them.
 */
export const movedBytes = ({ kernels }: Plan, microBatches: number): number =>
  kernels.reduce((sum, { bytes, summedBytes }) => sum + microBatches * bytes + (microBatches - 1) * summedBytes, 0);

/** Bytes of one micro-batch. */
export function compulsoryBytes(graph: TrainingGraph, microBatch: number): number {
  const types = inferShapes(graph, microBatch);
  const first = firstNode(graph);
  const nodeOf = (id: ValueId) => (id < first ? null : graph.nodes[id - first]);
  const isStored = (id: ValueId): boolean => {
    const node = nodeOf(id);
    return node === null || PRODUCTS.has(node.op);
  };
  const bytesOf = (id: ValueId): number => sizeOf(types[id].shape) * BYTES;

  /** What is in memory that a value is a function of, itself perhaps. */
  const sources = (id: ValueId, found: Set<ValueId>, seen: Set<ValueId>): void => {
    if (seen.has(id)) return;
    seen.add(id);
    if (isStored(id)) found.add(id);
    else for (const input of nodeOf(id)?.inputs ?? []) sources(input, found, seen);
  };
  /** Without views. */
  const viewed = (id: ValueId): ValueId => {
    const node = nodeOf(id);
    return node !== null && VIEWS.has(node.op) ? viewed(node.inputs[0]) : id;
  };

  const { outputs } = graph;
  const forward = new Set<ValueId>();
  const visit = (id: ValueId): void => {
    if (forward.has(id)) return;
    forward.add(id);
    for (const input of nodeOf(id)?.inputs ?? []) visit(input);
  };
  const scalars = [outputs.loss, outputs.weight, ...metricNames(graph).map((name) => outputs.metrics[name])];
  scalars.forEach(visit);

  const gradients = graph.gradients.filter((id) => id !== null);
  const products = graph.nodes.flatMap(({ op }, index) => (PRODUCTS.has(op) ? [first + index] : []));
  /** Of one pass: everything read, each once. */
  const read = (results: readonly ValueId[], ends: readonly ValueId[]): number => {
    const found = new Set<ValueId>();
    const seen = new Set<ValueId>();
    for (const id of results) for (const input of nodeOf(id)?.inputs ?? []) sources(input, found, seen);
    for (const id of ends) sources(id, found, seen);
    return [...found].reduce((sum, id) => sum + bytesOf(id), 0);
  };
  const summed = new Set(gradients.map(viewed));
  const isForward = (id: ValueId): boolean => forward.has(id);
  const written = products.filter((id) => !summed.has(id)).reduce((sum, id) => sum + bytesOf(id), 0);
  return (
    read(products.filter(isForward), scalars) +
    read(
      products.filter((id) => !isForward(id)),
      gradients.filter((id) => !isStored(viewed(id))),
    ) +
    written +
    gradients.reduce((sum, id) => sum + bytesOf(id), 0)
  );
}
