/**
 * A contribution as it goes up: header and body of shared/protocol/frames.ts.
 */

import { blockCount, CODECS, type SumCodec } from "../../shared/codec/index.ts";
import type { FrameHeader } from "../../shared/protocol/frames.ts";
import { upwardLayout } from "../../shared/protocol/frames.ts";
import type { GradientCodec } from "../../shared/session/definition.ts";
import type { Work } from "../../shared/session/plan.ts";
import type { Contribution, ShardTask } from "../engine/engine.ts";
import { TrainingError } from "./errors.ts";
import { packSums } from "./kernels.ts";

/** What each kind of work is to an engine, and the frames that it returns. */
export const WORKS = {
  calibrate: { engine: "calibrate", frame: "calibration" },
  train: { engine: "gradient", frame: "gradient" },
  validate: { engine: "evaluate", frame: "evaluation" },
  test: { engine: "evaluate", frame: "evaluation" },
} as const satisfies Record<Work, { engine: ShardTask["work"]; frame: FrameHeader["kind"] }>;

export interface ResultSizes {
  /** Sums of this kind of work besides loss and weight. */
  readonly metrics: number;
  /** Floats in the flat parameter array. */
  readonly parameters: number;
  readonly codec: GradientCodec;
}

export interface Lease {
  readonly lease: number;
  readonly work: Work;
  readonly step: number;
  readonly version: number;
  readonly from: number;
  readonly to: number;
}

/** What goes with sums that are multiples of a unit of their own (feedback.ts). */
export interface Coarse {
  readonly unit: number;
  /** Squares of the gradient by row and column, as bfloat16; none in most steps. */
  readonly squares: Uint16Array;
}

export interface EncodedResult {
  readonly header: Omit<FrameHeader, "offset" | "total">;
  readonly body: Uint8Array;
}

/** As the codec does, by a kernel where there is one. */
function packOrEncode(codec: SumCodec, sums: Int32Array, unit: number): Uint8Array {
  const packed = codec.frame === "packed" ? packSums(sums) : null;
  return packed ?? codec.encode(sums, unit);
}

/** Throws TrainingError `compute` if the engine's sizes are not those of the session. */
export function encodeResult(
  lease: Lease,
  contribution: Contribution,
  sizes: ResultSizes,
  coarse: Coarse | null = null,
): EncodedResult {
  const kind = WORKS[lease.work].frame;
  const blocks = blockCount(sizes.parameters);
  const codec = CODECS[sizes.codec];
  const expected = {
    metrics: sizes.metrics,
    maxima: kind === "evaluation" ? 0 : blocks,
    sums: kind === "gradient" ? sizes.parameters : 0,
  };
  for (const part of ["metrics", "maxima", "sums"] as const) {
    if (contribution[part].length !== expected[part]) {
      throw new TrainingError(
        "compute",
        `the engine returned ${contribution[part].length} ${part}, expected ${expected[part]}`,
      );
    }
  }
  const squares = coarse?.squares ?? new Uint16Array(0);
  const layout = upwardLayout(kind, { metrics: sizes.metrics, blocks, squares: squares.length });
  const sums = kind === "gradient" ? packOrEncode(codec, contribution.sums, coarse?.unit ?? 1) : new Uint8Array(0);
  const body = new Uint8Array(layout.sums + sums.byteLength);
  const view = new DataView(body.buffer);
  contribution.metrics.forEach((sum, i) => {
    view.setBigInt64(layout.metrics + i * 8, sum, true);
  });
  body.set(contribution.maxima, layout.maxima);
  body.set(new Uint8Array(squares.buffer, squares.byteOffset, squares.byteLength), layout.squares);
  body.set(sums, layout.sums);
  const { clamped, loss, weight } = contribution;
  return {
    header: {
      kind,
      codec: kind === "gradient" ? codec.frame : "none",
      version: lease.version,
      step: lease.step,
      lease: lease.lease,
      clamped,
      loss,
      weight,
    },
    body,
  };
}
