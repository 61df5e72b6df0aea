/**
 * Made-up work: a tiny session, and results for it whose integers are a function of (step, micro-batch, parameter) alone, so that
 * every sharding must add up to the same sums. Without anything of workerd's, so that Node can send them, too.
 */

import { blockCount, CODECS, carriesSquares, magnitudeBits } from "../../shared/codec/index.ts";
import { metricNames, parameterLength } from "../../shared/graph/index.ts";
import { evaluationSums } from "../../shared/graph/parameters.ts";
import { defineSession, type Loss, localData, loss, nn, optim } from "../../shared/nn/index.ts";
import { cutBody, upwardLayout } from "../../shared/protocol/frames.ts";
import type { CoordinatorMessage } from "../../shared/protocol/messages.ts";
import type { GradientCodec, SessionDefinition } from "../../shared/session/definition.ts";
import { squaresOf } from "../../shared/session/squares.ts";

/** A tiny session of 10 steps, each of 6 micro-batches. */
export function tinySession(
  options: { steps?: number; loss?: Loss; codec?: GradientCodec; downlink?: "delta" } = {},
): SessionDefinition {
  return defineSession({
    title: "Tiny",
    model: nn.sequential(nn.linear(30, 12), nn.relu(), nn.linear(12, 3)),
    input: [30],
    loss: options.loss ?? loss.crossEntropy(),
    optimizer: optim.adam({ lr: 1e-2 }),
    data: localData({
      x: "x",
      y: "y",
      columns: [
        { name: "x", dtype: "float32", shape: [30] },
        { name: "y", dtype: "int32", shape: [] },
      ],
      samplesPerEpoch: 48,
    }),
    batchSize: 24,
    microBatch: 4,
    epochs: 20,
    maxSteps: options.steps ?? 10,
    codec: options.codec ?? "fixed32",
    downlink: options.downlink ?? "float32",
  });
}

/** A small integer that depends on where it stands alone. */
function fakeValue(step: number, microBatch: number, parameter: number): number {
  return (Math.imul(step * 31 + microBatch * 7 + 1, parameter * 2654435761 + 97) >> 12) % 100_000;
}

/** Where sums are multiples of a unit of their own: what one micro-batch comes to at most, and the unit, which is on every grid here. */
const MULTIPLES = 8;
const UNIT = 2 ** -10;

/** Sums of made-up values, each within what the codec leaves one micro-batch. */
function fakeSums(
  { graph, codec, batchSize, microBatch: size }: SessionDefinition,
  { step, from, to }: Assign,
): Int32Array {
  const sums = new Int32Array(parameterLength(graph));
  const { part } = CODECS[codec];
  const limit = part === null ? 2 ** magnitudeBits(codec, Math.ceil(batchSize / size)) : MULTIPLES;
  for (let microBatch = from; microBatch < to; microBatch++) {
    for (let at = 0; at < sums.length; at++) sums[at] += fakeValue(step, microBatch, at) % limit;
  }
  return part === null ? sums : sums.map((value, at) => (at % Math.ceil(1 / part) === step % 3 ? value : 0));
}

export type Assign = Extract<CoordinatorMessage, { type: "assign" }>;

/** What each sample of a made-up result adds, in multiples of 2⁻²⁴; 2 and 1 if absent. */
export interface FakeSample {
  readonly loss?: number;
  readonly weight?: number;
  /** What the sums of its gradient are made to be; the right ones if absent. */
  readonly lie?: (sums: Int32Array) => Int32Array;
  /** What each micro-batch adds to the metrics, and the tables behind them. */
  readonly sums?: readonly number[];
  /** Largest exponent of each block; 120 if absent, and 255 says that a value is not finite. */
  readonly exponent?: number;
  /** The first of its integers, instead of the made-up one. */
  readonly firstSum?: number;
}

/** The frames of the made-up result of a lease. */
export function* fakeResult(
  definition: SessionDefinition,
  assign: Assign,
  sample: FakeSample = {},
): Generator<Uint8Array<ArrayBuffer>> {
  const parameters = parameterLength(definition.graph);
  const kind = assign.work === "train" ? "gradient" : assign.work === "calibrate" ? "calibration" : "evaluation";
  const sizes = {
    metrics: kind === "evaluation" ? evaluationSums(definition.graph) : metricNames(definition.graph).length,
    blocks: blockCount(parameters),
  };
  const squares = kind === "gradient" && carriesSquares(assign.step) ? squaresOf(definition) : 0;
  const layout = upwardLayout(kind, { ...sizes, squares });
  const codec = CODECS[definition.codec];
  const integers = fakeSums(definition, assign);
  if (sample.firstSum !== undefined) integers[0] = sample.firstSum;
  const sums =
    kind === "gradient" ? codec.encode((sample.lie ?? ((right) => right))(integers), UNIT) : new Uint8Array(0);
  const body = new Uint8Array(layout.sums + sums.byteLength);
  const view = new DataView(body.buffer);
  for (const [index, value] of (sample.sums ?? []).entries()) {
    view.setBigInt64(layout.metrics + index * 8, BigInt(assign.to - assign.from) * BigInt(value * 2 ** 24), true);
  }
  if (kind !== "evaluation") body.fill(sample.exponent ?? 120, layout.maxima, layout.maxima + sizes.blocks);
  // Each is 1, as bfloat16.
  for (let at = 0; at < squares; at++) view.setUint16(layout.squares + at * 2, 0x3f80, true);
  body.set(sums, layout.sums);
  const { version, step, lease } = assign;
  const count = BigInt(assign.to - assign.from);
  const sum = (value: number): bigint => count * 4n * BigInt(value * 2 ** 24);
  const [loss, weight] = [sum(sample.loss ?? 2), sum(sample.weight ?? 1)];
  const frame = kind === "gradient" ? codec.frame : "none";
  yield* cutBody({ kind, codec: frame, version, step, lease, clamped: 0, loss, weight }, body);
}
