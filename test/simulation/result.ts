/**
 * What a volunteer would compute, made up: integers that depend on the weights it holds, the step and the micro-batch, and on
 * nothing else. So a result of other weights, a lost one or one too many changes the bits of everything after it.
 */

import { blockCount, CODECS } from "../../shared/codec/index.ts";
import { evaluationSums, metricNames, parameterLength } from "../../shared/graph/parameters.ts";
import { cutBody, upwardLayout } from "../../shared/protocol/frames.ts";
import type { CoordinatorMessage } from "../../shared/protocol/messages.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { microBatchesPerStep, planRun, workSamples } from "../../shared/session/plan.ts";

export type Assign = Extract<CoordinatorMessage, { type: "assign" }>;

/** Units of 2⁻²⁴ in one. */
const UNIT = 1 << 24;

const mix = (a: number, b: number): number => {
  let word = Math.imul(a ^ (b + 0x9e3779b9), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
};

/** FNV-1a, of a whole body. */
export function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** The frames of a lease's result. @param weights hash of the body of weights that it is computed at */
export function resultOf(definition: SessionDefinition, assign: Assign, weights: number): Uint8Array<ArrayBuffer>[] {
  const { graph } = definition;
  const plan = planRun(definition);
  const parameters = parameterLength(graph);
  const blocks = blockCount(parameters);
  const kind = assign.work === "train" ? "gradient" : assign.work === "calibrate" ? "calibration" : "evaluation";
  const metrics = kind === "evaluation" ? evaluationSums(graph) : metricNames(graph).length;
  const layout = upwardLayout(kind, { metrics, blocks });
  const codec = CODECS[definition.codec];
  const limit = Math.min(2 ** codec.magnitudeBits(microBatchesPerStep(plan)), 2 ** 24);
  const sums = new Int32Array(parameters);
  const figures = new Array<bigint>(metrics).fill(0n);
  const maxima = new Uint8Array(blocks);
  let loss = 0n;
  const key = mix(weights, mix(assign.step, assign.work.length));
  for (let at = assign.from; at < assign.to; at++) {
    const own = mix(key, at);
    loss += BigInt(own % UNIT);
    for (let index = 0; index < metrics; index++)
      figures[index] = (figures[index] ?? 0n) + BigInt(mix(own, index) % UNIT);
    for (let block = 0; block < blocks; block++)
      maxima[block] = Math.max(maxima[block] ?? 0, 112 + (mix(own, block) % 8));
    if (kind !== "gradient") continue;
    for (let parameter = 0; parameter < parameters; parameter++) {
      sums[parameter] = (sums[parameter] ?? 0) + ((mix(own, parameter) % (2 * limit - 1)) - limit + 1);
    }
  }
  const range = workSamples(plan, assign.work, assign.step);
  const size = range.to - range.from;
  const samples = Math.min(assign.to * plan.microBatch, size) - Math.min(assign.from * plan.microBatch, size);
  const encoded = kind === "gradient" ? codec.encode(sums, 1) : new Uint8Array(0);
  const body = new Uint8Array(layout.sums + encoded.byteLength);
  const view = new DataView(body.buffer);
  for (const [index, value] of figures.entries()) view.setBigInt64(layout.metrics + index * 8, value, true);
  if (kind !== "evaluation") body.set(maxima, layout.maxima);
  body.set(encoded, layout.sums);
  const { version, step, lease } = assign;
  const frame = kind === "gradient" ? codec.frame : "none";
  const weight = BigInt(samples) * BigInt(UNIT);
  return [...cutBody({ kind, codec: frame, version, step, lease, clamped: 0, loss, weight }, body)];
}
