/** Optimizers by PyTorch's names and defaults, as data: the coordinator has the arithmetic. */

import type { Parameter } from "../graph/ir.ts";
import type { OptimizerOptions } from "../session/optimizer.ts";

type Of<Kind extends OptimizerOptions["kind"]> = Extract<OptimizerOptions, { kind: Kind }>;

/** What every optimizer takes. */
export interface CommonOptions {
  /** Learning rate. */
  lr?: number;
  /** Decay of the weights: part of the gradient (L2), but taken from the weights themselves by AdamW and Lion. */
  weightDecay?: number;
  /** Factor of the penalty Σ|w|, whose gradient is the sign of each weight. */
  l1?: number;
}

interface AdamOptions extends CommonOptions {
  betas?: readonly [number, number];
  eps?: number;
}

/** Gradient descent, with momentum if asked for. https://pytorch.org/docs/stable/generated/torch.optim.SGD.html */
export const sgd = ({
  lr,
  momentum = 0,
  dampening = 0,
  nesterov = false,
  weightDecay = 0,
  l1 = 0,
}: CommonOptions & { lr: number; momentum?: number; dampening?: number; nesterov?: boolean }): Of<"sgd"> => ({
  kind: "sgd",
  lr,
  weightDecay,
  l1,
  momentum,
  dampening,
  nesterov,
});

/** Adam. https://pytorch.org/docs/stable/generated/torch.optim.Adam.html */
export const adam = ({
  lr = 1e-3,
  betas = [0.9, 0.999],
  eps = 1e-8,
  weightDecay = 0,
  l1 = 0,
}: AdamOptions = {}): Of<"adam"> => ({ kind: "adam", lr, weightDecay, l1, beta1: betas[0], beta2: betas[1], eps });

/** Adam with decoupled weight decay. https://pytorch.org/docs/stable/generated/torch.optim.AdamW.html */
export const adamW = ({
  lr = 1e-3,
  betas = [0.9, 0.999],
  eps = 1e-8,
  weightDecay = 0.01,
  l1 = 0,
}: AdamOptions = {}): Of<"adamw"> => ({ kind: "adamw", lr, weightDecay, l1, beta1: betas[0], beta2: betas[1], eps });

/** RMSprop. https://pytorch.org/docs/stable/generated/torch.optim.RMSprop.html */
export const rmsProp = ({
  lr = 1e-2,
  alpha = 0.99,
  eps = 1e-8,
  momentum = 0,
  centered = false,
  weightDecay = 0,
  l1 = 0,
}: CommonOptions & { alpha?: number; eps?: number; momentum?: number; centered?: boolean } = {}): Of<"rmsprop"> => ({
  kind: "rmsprop",
  lr,
  weightDecay,
  l1,
  alpha,
  eps,
  momentum,
  centered,
});

/** Adagrad. https://pytorch.org/docs/stable/generated/torch.optim.Adagrad.html */
export const adagrad = ({
  lr = 1e-2,
  lrDecay = 0,
  initialAccumulator = 0,
  eps = 1e-10,
  weightDecay = 0,
  l1 = 0,
}: CommonOptions & { lrDecay?: number; initialAccumulator?: number; eps?: number } = {}): Of<"adagrad"> => ({
  kind: "adagrad",
  lr,
  weightDecay,
  l1,
  lrDecay,
  initialAccumulator,
  eps,
});

/** Lion, with its paper's defaults: a third to a tenth of Adam's learning rate suits it. https://arxiv.org/abs/2302.06675 */
export const lion = ({
  lr = 1e-4,
  betas = [0.9, 0.99],
  weightDecay = 0,
  l1 = 0,
}: CommonOptions & { betas?: readonly [number, number] } = {}): Of<"lion"> => ({
  kind: "lion",
  lr,
  weightDecay,
  l1,
  beta1: betas[0],
  beta2: betas[1],
});

/** For `groups`: vectors and scalars, which are biases and the weights of norms. Weight decay is usually kept from them. */
export const biasesAndNorms = ({ shape }: Pick<Parameter, "shape">): boolean => shape.length <= 1;
