/** Results that nobody computed, valid to the last byte: a coordinator cannot tell them from a volunteer's. */

import { BLOCK, CODECS, encodeSums } from "../../shared/codec/index.ts";
import { metricNames, parameterLength } from "../../shared/graph/parameters.ts";
import type { FrameHeader } from "../../shared/protocol/frames.ts";
import { upwardLayout } from "../../shared/protocol/frames.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";

export interface MadeLease {
  readonly lease: number;
  readonly step: number;
  readonly version: number;
  readonly from: number;
  readonly to: number;
}

const KINDS = { calibrate: "calibration", train: "gradient" } as const;

/** Work that these sessions consist of: they hold nothing out. */
export type MadeWork = keyof typeof KINDS;

/** A biased exponent of ordinary gradients: |g| < 2⁻⁶. */
const EXPONENT = 121;
/** Largest integer of the sums; small enough for 1,024 of them in 16 bits to stay within what the log packs. */
const LARGEST = 31;

/** A body that answers any lease of this kind of work. */
export function makeBody(definition: SessionDefinition, work: MadeWork): Uint8Array<ArrayBuffer> {
  const { graph, codec } = definition;
  const parameters = parameterLength(graph);
  const blocks = Math.ceil(parameters / BLOCK);
  const layout = upwardLayout(KINDS[work], { metrics: metricNames(graph).length, blocks });
  const sums = work === "train" ? encodeSums(makeSums(parameters), codec) : new Uint8Array(0);
  const body = new Uint8Array(layout.sums + sums.byteLength);
  body.fill(EXPONENT, layout.maxima, layout.maxima + blocks);
  body.set(sums, layout.sums);
  return body;
}

export const makeSums = (parameters: number): Int32Array =>
  Int32Array.from({ length: parameters }, (_, at) => (Math.imul(at, 2_654_435_761) >> 16) % LARGEST);

/** The header of a body that answers `lease`. */
export function makeHeader(
  { codec, microBatch }: SessionDefinition,
  work: MadeWork,
  { lease, step, version, from, to }: MadeLease,
): Omit<FrameHeader, "offset" | "total"> {
  const weight = BigInt((to - from) * microBatch) << 24n;
  const kind = KINDS[work];
  return {
    kind,
    codec: work === "train" ? CODECS[codec].frame : "none",
    version,
    step,
    lease,
    clamped: 0,
    loss: weight,
    weight,
  };
}
