/** What taking part costs, in figures, from the session's definition alone. */

import { blockCount, CODECS, sparseBytes } from "../../shared/codec/index.ts";
import { estimateCost } from "../../shared/graph/cost.ts";
import { GraphError } from "../../shared/graph/error.ts";
import { changeLayout, upwardLayout, weightsLayout } from "../../shared/protocol/frames.ts";
import { datasetBytes } from "../../shared/session/manifest.ts";
import { microBatchesPerStep, planRun } from "../../shared/session/plan.ts";
import { squaresOf } from "../../shared/session/squares.ts";
import type { SessionInfo } from "./api.ts";

export interface Cost {
  /** Training data, once; only what this machine's shares need of it. */
  readonly dataBytes: number;
  /** Weights after every step, at most; or about what changed of them where that is what comes. */
  readonly bytesPerStep: number;
  /** Gradients for each share of a step, at most. */
  readonly bytesPerShare: number;
  /** Roughly: weights, sums and transfers, values of a micro-batch, the data. Null where the graph cannot be read. */
  readonly memoryBytes: number | null;
}

/** Part of the parameters that changes in a step where changes are sent, about the most; most of these by one unit. */
const CHANGED = 0.22;

function downloadOf(blocks: number, parameters: number, downlink: SessionInfo["definition"]["downlink"]): number {
  if (downlink === undefined) return weightsLayout(blocks, parameters).total;
  return changeLayout(blocks).units + sparseBytes(parameters, Math.ceil(parameters * CHANGED), 1).most;
}

/** Bytes of onnxruntime's `.wasm`, fetched once by who computes on the processor. */
export const RUNTIME_BYTES = 14_300_000;

/** Copies of the parameters that a volunteer holds: the engine's, its gradient and sums, and two transfers. */
const PARAMETER_COPIES = 5;
/** A backward pass holds about twice the values of the forward pass it follows. */
const PASSES = 3;

export function costOf({
  definition,
  manifest,
  parameters,
}: Pick<SessionInfo, "definition" | "manifest" | "parameters">): Cost {
  const blocks = blockCount(parameters);
  const metrics = Object.keys(definition.graph.outputs.metrics).length;
  const sums = CODECS[definition.codec].bytes(parameters, microBatchesPerStep(planRun(definition)));
  const dataBytes = manifest === null ? 0 : datasetBytes(manifest);
  return {
    dataBytes,
    bytesPerStep: downloadOf(blocks, parameters, definition.downlink),
    bytesPerShare: upwardLayout("gradient", { metrics, blocks, squares: squaresOf(definition) }).sums + sums.most,
    memoryBytes: memoryOf(definition, dataBytes),
  };
}

function memoryOf({ graph, microBatch }: SessionInfo["definition"], dataBytes: number): number | null {
  try {
    const { parameterBytes, activationBytes } = estimateCost(graph, microBatch);
    return PARAMETER_COPIES * parameterBytes + PASSES * activationBytes + dataBytes;
  } catch (error) {
    // Who takes part has the session checked before anything is computed; until then a figure is missing.
    if (error instanceof GraphError) return null;
    throw error;
  }
}
