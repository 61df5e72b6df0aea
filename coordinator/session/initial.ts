/**
 * A new session's weights: from the seed alone, or where the definition names given ones, from the blob of that hash. They
 * were uploaded before, like a chunk of a data set; nothing of the session exists until they are found to be right.
 */

import { needsGiven, requireFinite } from "../../shared/graph/given.ts";
import { initialize } from "../../shared/graph/initialize.ts";
import { parameterLength } from "../../shared/graph/parameters.ts";
import { GraphError } from "../../shared/graph/validate.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { chunkKey } from "../store/chunks.ts";
import { type Refusal, refuse } from "./answer.ts";

const BYTES = 4;

/** Flat weights [parameters], or why there are none. */
export async function firstWeights(
  bucket: R2Bucket,
  { graph, seed, initialWeights }: SessionDefinition,
): Promise<Float32Array<ArrayBuffer> | Refusal> {
  if (initialWeights === undefined || !needsGiven(graph)) return initialize(graph, seed);
  const expected = parameterLength(graph) * BYTES;
  const object = await bucket.get(chunkKey(initialWeights));
  if (object === null) {
    return refuse(422, "weights-missing", `the initial weights (${initialWeights}) were not uploaded: do so first`);
  }
  // No blob is larger than what an upload may have (shared/session/manifest.ts).
  const body = await object.arrayBuffer();
  if (body.byteLength !== expected) {
    return refuse(
      422,
      "weights-size",
      `the initial weights have ${body.byteLength} bytes, the graph needs ${expected}`,
    );
  }
  const given = new Float32Array(body);
  try {
    requireFinite(given, graph);
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    return refuse(422, "weights-not-finite", `the initial weights: ${error.message}`);
  }
  return initialize(graph, seed, given);
}
