/**
 * What is done with a step's mean gradient, as data: the optimizer by PyTorch's names, groups of parameters with values of
 * their own, clipping, and the average of weights. The arithmetic is the coordinator's; the learning rate over time is
 * schedule.ts.
 */

import * as v from "valibot";
import { finite } from "./schemas.ts";

const positive = v.pipe(
  finite,
  // As float32, in which the kernels compute: a smaller one would be zero.
  v.check((value) => Math.fround(value) > 0, "must be above 0"),
);
const nonNegative = v.pipe(finite, v.minValue(0));
const fraction = v.pipe(
  finite,
  v.minValue(0),
  v.check((value) => value < 1, "must be below 1"),
);

/** What every optimizer has: the learning rate, and the factors of the penalties ‖w‖²/2 and |w|. */
const shared = { lr: nonNegative, weightDecay: nonNegative, l1: nonNegative };
const betas = { beta1: fraction, beta2: fraction };

export const optimizerSchema = v.variant("kind", [
  /** w ← w − lr · g, with momentum where there is one. https://pytorch.org/docs/stable/generated/torch.optim.SGD.html */
  v.strictObject({
    kind: v.literal("sgd"),
    ...shared,
    momentum: fraction,
    dampening: fraction,
    nesterov: v.boolean(),
  }),
  /** Bias correction, eps outside the root, decay in the gradient. https://pytorch.org/docs/stable/generated/torch.optim.Adam.html */
  v.strictObject({ kind: v.literal("adam"), ...shared, ...betas, eps: positive }),
  /** Adam with decay of the weights themselves. https://pytorch.org/docs/stable/generated/torch.optim.AdamW.html */
  v.strictObject({ kind: v.literal("adamw"), ...shared, ...betas, eps: positive }),
  /** https://pytorch.org/docs/stable/generated/torch.optim.RMSprop.html */
  v.strictObject({
    kind: v.literal("rmsprop"),
    ...shared,
    alpha: fraction,
    eps: positive,
    momentum: fraction,
    centered: v.boolean(),
  }),
  /** https://pytorch.org/docs/stable/generated/torch.optim.Adagrad.html */
  v.strictObject({
    kind: v.literal("adagrad"),
    ...shared,
    lrDecay: nonNegative,
    initialAccumulator: nonNegative,
    eps: positive,
  }),
  /** Only the sign of a momentum; decay of the weights themselves. https://arxiv.org/abs/2302.06675 */
  v.strictObject({ kind: v.literal("lion"), ...shared, ...betas }),
]);

export type OptimizerOptions = v.InferOutput<typeof optimizerSchema>;
export type OptimizerKind = OptimizerOptions["kind"];

/** Where parameters of a group differ from the optimizer's own values. */
export const groupSchema = v.strictObject({
  lr: v.exactOptional(nonNegative),
  weightDecay: v.exactOptional(nonNegative),
  l1: v.exactOptional(nonNegative),
});

export type GroupOptions = v.InferOutput<typeof groupSchema>;

/** Group of the parameters that name none. */
export const DEFAULT_GROUP = "default";

/**
 * Limits on the mean gradient before any penalty: its length over all parameters, as `torch.nn.utils.clip_grad_norm_`, then
 * each of its values, as `clip_grad_value_`.
 */
export const clippingSchema = v.strictObject({ norm: v.exactOptional(positive), value: v.exactOptional(positive) });

export type Clipping = v.InferOutput<typeof clippingSchema>;

/**
 * Exponential moving average of the weights, a ← decay · a + (1 − decay) · w after every step and w itself after the first:
 * what held-out samples are measured on, and what the session ends with. As `torch.optim.swa_utils.AveragedModel`.
 */
export const averageSchema = v.strictObject({ decay: fraction });

export type Averaging = v.InferOutput<typeof averageSchema>;

/** The optimizer with a group's own values in place. */
export function optimizerOf(
  { optimizer, groups }: { optimizer: OptimizerOptions; groups?: Readonly<Record<string, GroupOptions>> },
  group: string,
): OptimizerOptions {
  return { ...optimizer, ...groups?.[group] };
}
