/** The ways over the line that are compared: how gradients go up, and how weights come down. */

import type { GradientCodec } from "../../shared/codec/index.ts";

export interface Way {
  readonly codec: GradientCodec;
  readonly downlink: "float32" | "delta";
  /** What docs/session-file.md recommends: it has to end where `fixed32` ends. */
  readonly recommended: boolean;
}

/** Everything in 32 bits: what the others are compared with. */
export const PLAIN: Way = { codec: "fixed32", downlink: "float32", recommended: false };

export const WAYS: readonly Way[] = [
  PLAIN,
  { codec: "fixed16", downlink: "float32", recommended: true },
  { codec: "packed8", downlink: "float32", recommended: true },
  { codec: "packed8", downlink: "delta", recommended: true },
  { codec: "sparse20", downlink: "delta", recommended: true },
  { codec: "sparse15", downlink: "delta", recommended: true },
  { codec: "sparse10", downlink: "delta", recommended: true },
  { codec: "sparse5", downlink: "delta", recommended: false },
];

export const QUICK_WAYS: readonly Way[] = [PLAIN, { codec: "sparse15", downlink: "delta", recommended: true }];

/** The one whose traffic is claimed to be so many times less. */
export const LEAST_TRAFFIC = { way: { codec: "sparse10", downlink: "delta" }, times: 30 } as const;

export const nameOf = ({ codec, downlink }: Pick<Way, "codec" | "downlink">): string =>
  `${codec} up, ${downlink === "delta" ? "changes" : "float32"} down`;
