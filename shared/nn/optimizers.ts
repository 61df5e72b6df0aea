/** Optimizers by PyTorch's names and defaults, as data: the coordinator has the arithmetic. */

import type { AdamOptions, SgdOptions } from "../session/definition.ts";

/** Adam with PyTorch's defaults. https://pytorch.org/docs/stable/generated/torch.optim.Adam.html */
export function adam({
  lr = 1e-3,
  betas = [0.9, 0.999],
  eps = 1e-8,
}: {
  lr?: number;
  betas?: readonly [number, number];
  eps?: number;
} = {}): AdamOptions {
  return { kind: "adam", lr, beta1: betas[0], beta2: betas[1], eps };
}

/** Plain gradient descent. */
export const sgd = ({ lr }: { lr: number }): SgdOptions => ({ kind: "sgd", lr });
