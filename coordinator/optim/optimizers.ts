/**
 * Optimizers as a table: what they keep per parameter, by the names of PyTorch's `state_dict`; the scalars of a step,
 * computed in float64 and rounded to float32 once; and the kernel that uses them. A replay uses the logged scalars, so that
 * it never depends on how a machine computes a power.
 */

import type { OptimizerKind, OptimizerOptions } from "../../shared/session/optimizer.ts";
import { SCALARS, type UpdateName } from "./kernels.ts";

interface Optimizer<Options> {
  readonly kernel: (options: Options) => UpdateName;
  /** The kernel's state arrays by position; null where these options go without one. */
  readonly states: (options: Options) => readonly (string | null)[];
  /** First value of every element of the states, 0 if absent. */
  readonly initial?: (options: Options) => number;
  /** Whether decay shrinks the weights themselves; otherwise it is added to the gradient. */
  readonly isDecoupled: boolean;
  /**
   * The kernel's own scalars.
   * @param t updates done, this one included: 1 for the first
   * @param squared where squares come from elsewhere (second-moments.ts): those that are known at this update; null where they are the kernel's
   */
  readonly scalars: (options: Options, t: number, squared: Squared | null) => readonly number[];
}

/** Updates done when squares came last, that one included, and how many of them since the time before. */
export interface Squared {
  readonly t: number;
  readonly gap: number;
}

/** Scalars that all kernels share come first. */
const SHARED = 5;
/** Behind Adam's own: what is left of the second moment where squares come from elsewhere. */
export const SQUARES_DECAY = SHARED + 6;

type Of<Kind extends OptimizerKind> = Extract<OptimizerOptions, { kind: Kind }>;

const ADAM = {
  kernel: () => "adam",
  states: () => ["exp_avg", "exp_avg_sq"],
  scalars: ({ lr, beta1, beta2, eps }, t, squared) => {
    const correction1 = 1 - beta1 ** t;
    // Root and all: it multiplies the step's size and eps, and no second moment needs to be divided by it.
    const correction2 = Math.sqrt(1 - beta2 ** (squared?.t ?? t));
    return [
      beta1,
      1 - beta1,
      squared === null ? beta2 : 1,
      squared === null ? Math.sqrt(1 - beta2) : 0,
      (lr / correction1) * correction2,
      eps * correction2,
      // Adam's own bound on the length of a step: a gradient that squares do not know yet must not go beyond it.
      ...(squared === null
        ? []
        : [beta2 ** squared.gap, (Math.sqrt(1 - beta2) / (1 - beta1) / correction1) * correction2]),
    ];
  },
} as const satisfies Omit<Optimizer<Of<"adam"> | Of<"adamw">>, "isDecoupled">;

const OPTIMIZERS: { readonly [Kind in OptimizerKind]: Optimizer<Of<Kind>> } = {
  sgd: {
    kernel: ({ momentum }) => (momentum === 0 ? "sgd" : "momentum"),
    states: ({ momentum }) => (momentum === 0 ? [] : ["momentum_buffer"]),
    isDecoupled: false,
    // The first gradient enters the buffer whole.
    scalars: ({ lr, momentum, dampening, nesterov }, t) => [
      lr,
      momentum,
      t === 1 ? 1 : 1 - dampening,
      nesterov ? 1 : 0,
      nesterov ? momentum : 1,
    ],
  },
  adam: { ...ADAM, isDecoupled: false },
  adamw: { ...ADAM, isDecoupled: true },
  rmsprop: {
    kernel: () => "rmsprop",
    states: ({ centered, momentum }) => [
      "square_avg",
      centered ? "grad_avg" : null,
      momentum > 0 ? "momentum_buffer" : null,
    ],
    isDecoupled: false,
    scalars: ({ lr, alpha, eps, momentum }) => [lr, alpha, 1 - alpha, eps, momentum],
  },
  adagrad: {
    kernel: () => "adagrad",
    states: () => ["sum"],
    initial: ({ initialAccumulator }) => initialAccumulator,
    isDecoupled: false,
    scalars: ({ lr, lrDecay, eps }, t) => [lr / (1 + (t - 1) * lrDecay), eps],
  },
  lion: {
    kernel: () => "lion",
    states: () => ["exp_avg"],
    isDecoupled: true,
    scalars: ({ lr, beta1, beta2 }) => [lr, beta1, 1 - beta1, beta2, 1 - beta2],
  },
};

const entryOf = (kind: OptimizerKind): Optimizer<OptimizerOptions> => OPTIMIZERS[kind] as Optimizer<OptimizerOptions>;

/** @param isSquared whether squares come from elsewhere: Adam's steps have to be kept within its bound then */
export function kernelOf(options: OptimizerOptions, isSquared = false): UpdateName {
  const kernel = entryOf(options.kind).kernel(options);
  return isSquared && kernel === "adam" ? "adamWithin" : kernel;
}

/** The kernel's state arrays by position; null where there is none. */
export const statesOf = (options: OptimizerOptions): readonly (string | null)[] =>
  entryOf(options.kind).states(options);

/** First value of every element of the states. */
export const initialOf = (options: OptimizerOptions): number => entryOf(options.kind).initial?.(options) ?? 0;

/**
 * All scalars of update number `t` (from 1) of one group, as the kernels take them.
 * @param scale what the mean gradient is multiplied by
 * @param limit what its values are clamped to; infinite for none
 * @param squared what squares of other steps are known, where the kernel takes none
 */
export function scalarsOf(
  options: OptimizerOptions,
  t: number,
  { scale, limit, squared = null }: { scale: number; limit: number; squared?: Squared | null },
): Float32Array<ArrayBuffer> {
  const { isDecoupled, scalars } = entryOf(options.kind);
  const { lr, weightDecay, l1 } = options;
  const shared = [scale, limit, isDecoupled ? 0 : weightDecay, l1, isDecoupled ? 1 - lr * weightDecay : 1];
  const all = new Float32Array(SCALARS);
  all.set([...shared, ...scalars(options, t, squared)]);
  return all;
}
