/**
 * Whether a whole contribution may be used: its sizes, kind and weight against the lease it answers. Order of checks:
 * header, lease, exact size, then content (invariant I5).
 */

import {
  blockCount,
  CODECS,
  carriesSquares,
  fromBfloat16,
  type SumCodec,
  scalarLimit,
} from "../../shared/codec/index.ts";
import { evaluationSums, metricNames, parameterLength } from "../../shared/graph/parameters.ts";
import {
  type FrameCodec,
  type FrameHeader,
  type FrameKind,
  MAX_PAYLOAD_BYTES,
  upwardLayout,
} from "../../shared/protocol/frames.ts";
import { ProtocolError } from "../../shared/protocol/messages.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import {
  microBatchesPerStep,
  type RunPlan,
  type Work,
  workMicroBatches,
  workSamples,
} from "../../shared/session/plan.ts";
import { squaresOf } from "../../shared/session/squares.ts";
import { type Contribution, weightBound } from "../aggregate/index.ts";
import type { Lease } from "../round/types.ts";
import type { Delivery } from "./upload.ts";

/** How the result of each kind of work travels. */
const KINDS = {
  calibrate: "calibration",
  train: "gradient",
  validate: "evaluation",
  test: "evaluation",
} as const satisfies Record<Work, FrameKind>;

/** A contribution whose sizes were checked, with its integers in pieces: none for all but training steps. */
export interface Admitted extends Contribution {
  readonly sums: readonly Uint8Array[];
}

export class Admission {
  readonly #plan: RunPlan;
  readonly #sizes: { readonly blocks: number; readonly parameters: number };
  readonly #codec: SumCodec;
  /** Squares of a result in the steps that carry them. */
  readonly #squares: number;
  /** Sums besides loss and weight, by the kind of result. */
  readonly #sums: Readonly<Record<(typeof KINDS)[Work], number>>;
  /** Largest denominator of one sample: what the graph says, or the elements of its target. */
  readonly #perSample: number;

  constructor(definition: SessionDefinition, plan: RunPlan) {
    const { graph, codec } = definition;
    const parameters = parameterLength(graph);
    this.#plan = plan;
    this.#sizes = { blocks: blockCount(parameters), parameters };
    this.#codec = CODECS[codec];
    this.#squares = squaresOf(definition);
    const metrics = metricNames(graph).length;
    this.#sums = { calibration: metrics, gradient: metrics, evaluation: evaluationSums(graph) };
    const target = graph.inputs.find(({ role }) => role === "target");
    const elements = (target?.shape.slice(1) ?? []).reduce<number>((size, dimension) => size * Number(dimension), 1);
    this.#perSample = graph.outputs.largestWeight ?? elements;
  }

  /** Most bytes that are kept of a result until it is whole: none of one that comes in one frame. */
  get largestUpload(): number {
    const total = this.#largestGradient();
    return total <= MAX_PAYLOAD_BYTES ? 0 : total;
  }

  /** Bytes of the largest result of any kind. */
  get largestBody(): number {
    return Math.max(this.#largestGradient(), this.#layout("evaluation", 0).sums);
  }

  #largestGradient(): number {
    const { sums } = this.#layout("gradient", 0);
    return sums + this.#codec.bytes(this.#sizes.parameters, microBatchesPerStep(this.#plan)).most;
  }

  /** Throws ProtocolError `bad-frame` or `tensor-size` unless a frame can belong to the lease's result. */
  checkHeader(lease: Lease, header: FrameHeader): void {
    const kind = KINDS[lease.work];
    const codec: FrameCodec = kind === "gradient" ? this.#codec.frame : "none";
    if (header.kind !== kind || header.codec !== codec) {
      throw new ProtocolError("bad-frame", `a ${header.kind} frame in ${header.codec}, expected ${kind} in ${codec}`);
    }
    const { sums } = this.#layout(kind, lease.step);
    const { least, most } = kind === "gradient" ? this.#sumBytes(lease) : { least: 0, most: 0 };
    if (header.total < sums + least || header.total > sums + most) {
      const expected = least === most ? `have ${sums + most}` : `have ${sums + least} to ${sums + most}`;
      throw new ProtocolError("tensor-size", `a ${kind} body of ${header.total} bytes, this session's ${expected}`);
    }
  }

  /** Sections of a result of this kind, in this step. The first step's are as long as any. */
  #layout(kind: (typeof KINDS)[Work], step: number): ReturnType<typeof upwardLayout> {
    const squares = carriesSquares(step) ? this.#squares : 0;
    return upwardLayout(kind, { ...this.#sizes, metrics: this.#sums[kind], squares });
  }

  /** What the sums of this lease's micro-batches may take. */
  #sumBytes(lease: Lease): { readonly least: number; readonly most: number } {
    return this.#codec.bytes(this.#sizes.parameters, lease.to - lease.from);
  }

  /** Real samples of a lease; padding does not count. */
  samplesOf(lease: Lease): number {
    const { from, to } = workSamples(this.#plan, lease.work, lease.step);
    const start = from + lease.from * this.#plan.microBatch;
    return Math.min(to, from + lease.to * this.#plan.microBatch) - start;
  }

  /**
   * Reads a whole contribution of the right size. Throws ProtocolError `bad-frame` if its weight or another sum is impossible,
   * or its sums are not packed as they say.
   */
  read(lease: Lease, header: FrameHeader, body: Delivery): Admitted {
    const kind = KINDS[lease.work];
    const layout = this.#layout(kind, lease.step);
    const { parameters } = this.#sizes;
    const packing = kind === "gradient" ? this.#codec.headBytes(parameters, header.total - layout.sums) : 0;
    const head = body.head(layout.sums + packing);
    const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
    const samples = this.samplesOf(lease);
    const bound = weightBound(samples, this.#perSample);
    if (header.weight < 0n || header.weight > bound) {
      throw new ProtocolError("bad-frame", `a weight of ${header.weight} for ${samples} samples, at most ${bound}`);
    }
    const metrics = Array.from({ length: this.#sums[kind] }, (_, index) =>
      view.getBigInt64(layout.metrics + index * 8, true),
    );
    const limit = scalarLimit(workMicroBatches(this.#plan, lease.work, lease.step));
    const most = BigInt(limit) * BigInt(lease.to - lease.from);
    for (const sum of [header.loss, ...metrics]) {
      if (sum > most || sum < -most) {
        throw new ProtocolError(
          "bad-frame",
          `a sum of ${sum} units for ${lease.to - lease.from} micro-batches, at most ${most}`,
        );
      }
    }
    const fault =
      kind === "gradient"
        ? this.#codec.fault(head.subarray(layout.sums), header.total - layout.sums, parameters, lease.to - lease.from)
        : null;
    if (fault !== null) throw new ProtocolError("bad-frame", `the sums are badly packed: ${fault}`);
    const hasSquares = kind === "gradient" && carriesSquares(lease.step) && this.#squares > 0;
    const squares = hasSquares ? readSquares(view, layout.squares, this.#squares) : null;
    return {
      loss: header.loss,
      weight: header.weight,
      metrics,
      squares,
      maxima: kind === "evaluation" ? null : head.subarray(layout.maxima, layout.maxima + this.#sizes.blocks),
      clamped: header.clamped,
      microBatches: lease.to - lease.from,
      samples,
      sums: body.after(layout.sums),
    };
  }
}

/** Throws ProtocolError `bad-frame` for one that is no sum of squares. */
function readSquares(view: DataView, at: number, length: number): Float32Array {
  const squares = fromBfloat16(Uint16Array.from({ length }, (_, index) => view.getUint16(at + index * 2, true)));
  const wrong = squares.findIndex((square) => !(square >= 0 && Number.isFinite(square)));
  if (wrong >= 0) throw new ProtocolError("bad-frame", `sum of squares ${wrong} is ${squares[wrong]}`);
  return squares;
}
