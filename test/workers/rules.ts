/** Update rules of every kind, each for one small session, for scripted clients that make up what they compute. */

import { dataset, defineSession, loss, nn, optim, type SessionOptions, schedule } from "../../shared/nn/index.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { HELD_OUT, TRAIN } from "./held-out.ts";

const EPOCHS = 10;
const BATCH = 8;
export const STEPS_PER_EPOCH = TRAIN / BATCH;
/** Held-out loss after each epoch: better twice, then a plateau. */
export const LOSSES = [3, 2, 2, 2, 2, 2, 2, 2, 2, 2];

export type Rule = Pick<
  SessionOptions,
  "optimizer" | "groups" | "clipping" | "schedule" | "average" | "codec" | "downlink"
>;

/** Ten epochs of two steps, validated after each. */
export const sessionWith = (rule: Rule): SessionDefinition =>
  defineSession({
    title: "Update rules",
    model: nn.sequential(nn.linear(1, 6), nn.relu(), nn.linear(6, 2)),
    input: [1],
    loss: loss.crossEntropy(),
    data: dataset("held-out", { x: "x", y: "y", train: [0, TRAIN], validation: [TRAIN, TRAIN + HELD_OUT] }),
    batchSize: BATCH,
    microBatch: 4,
    epochs: EPOCHS,
    ...rule,
  });

export const RULES: Readonly<Record<string, Rule>> = {
  "sgd with momentum, step per epoch": {
    optimizer: optim.sgd({ lr: 0.1, momentum: 0.9, dampening: 0.1 }),
    schedule: schedule.step({ stepSize: 2, per: "epoch" }),
  },
  "adam, warm-up and cosine, clipped": {
    optimizer: optim.adam({ lr: 0.02, weightDecay: 0.01 }),
    schedule: schedule.warmup(4, schedule.cosine()),
    clipping: { norm: 0.5, value: 0.1 },
  },
  "adamw, no decay on biases, one-cycle, averaged": {
    optimizer: optim.adamW({ lr: 0.02, weightDecay: 0.1 }),
    groups: { plain: { parameters: optim.biasesAndNorms, weightDecay: 0 } },
    schedule: schedule.oneCycle(),
    average: { decay: 0.9 },
  },
  "rmsprop, centered with momentum, multi-step": {
    optimizer: optim.rmsProp({ centered: true, momentum: 0.5 }),
    schedule: schedule.multiStep({ milestones: [5, 11] }),
  },
  "adagrad, plateau": {
    optimizer: optim.adagrad({ initialAccumulator: 0.1, lrDecay: 0.01 }),
    schedule: schedule.reduceOnPlateau({ patience: 1, factor: 0.5 }),
  },
  "lion, warm restarts, L1": {
    optimizer: optim.lion({ lr: 0.01, weightDecay: 0.1, l1: 0.01 }),
    schedule: schedule.warmRestarts({ t0: 7 }),
  },
  "adam, packed sums": { optimizer: optim.adam({ lr: 0.02 }), codec: "packed6" },
  "sgd with momentum, few coarse sums, changes down": {
    optimizer: optim.sgd({ lr: 0.1, momentum: 0.9 }),
    codec: "sparse20",
    downlink: "delta",
  },
  "sgd, averaged, changes down": { optimizer: optim.sgd({ lr: 0.1 }), average: { decay: 0.9 }, downlink: "delta" },
  "sgd, exponential": { optimizer: optim.sgd({ lr: 0.1 }), schedule: schedule.exponential({ gamma: 0.9 }) },
};
