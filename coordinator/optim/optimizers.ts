/**
 * Optimizers as a table: the scalars of a step, computed in float64 and rounded to float32 once, and the kernel that uses
 * them. A replay uses the logged scalars, so that it never depends on how a machine computes a power.
 */

import type { OptimizerOptions } from "../../shared/session/definition.ts";
import type { Kernels } from "./kernels.ts";

interface Optimizer<Options> {
  /** @param t updates done, this one included: 1 for the first */
  scalars(options: Options, t: number): readonly number[];
  /** @param scale what the mean gradient is multiplied by (clipping) */
  apply(kernels: Kernels, scale: number, scalars: Float32Array): void;
}

const OPTIMIZERS: {
  readonly [Kind in OptimizerOptions["kind"]]: Optimizer<Extract<OptimizerOptions, { kind: Kind }>>;
} = {
  // https://pytorch.org/docs/stable/generated/torch.optim.Adam.html, without weight decay and amsgrad
  adam: {
    scalars: ({ lr, beta1, beta2, eps }, t) => [
      beta1,
      1 - beta1,
      beta2,
      1 - beta2,
      lr / (1 - beta1 ** t),
      Math.sqrt(1 - beta2 ** t),
      eps,
    ],
    apply: (kernels, scale, scalars) => kernels.adam(scale, scalars),
  },
  sgd: {
    scalars: ({ lr }) => [lr],
    apply: (kernels, scale, [lr]) => kernels.sgd(scale, lr),
  },
};

/** The scalars of update number `t` (from 1). */
export function optimizerScalars(options: OptimizerOptions, t: number): Float32Array<ArrayBuffer> {
  const optimizer = OPTIMIZERS[options.kind] as Optimizer<OptimizerOptions>;
  return Float32Array.from(optimizer.scalars(options, t));
}

export function applyOptimizer(
  kind: OptimizerOptions["kind"],
  kernels: Kernels,
  scale: number,
  scalars: Float32Array,
): void {
  OPTIMIZERS[kind].apply(kernels, scale, scalars);
}
