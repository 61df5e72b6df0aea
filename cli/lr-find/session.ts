/**
 * The session that measures learning rates, made of the one that is to be trained: the same model, data, loss, groups and
 * clipping, but a learning rate that grows by the same factor every step (Smith 2015, "Cyclical Learning Rates for Training
 * Neural Networks", https://arxiv.org/abs/1506.01186, the LR range test; exponential as in fastai's lr_find).
 */

import { optim, schedule } from "../../shared/nn/index.ts";
import { SESSION_LIMITS, type SessionDefinition } from "../../shared/session/definition.ts";
import type { GroupOptions, OptimizerOptions } from "../../shared/session/optimizer.ts";
import { planRun } from "../../shared/session/plan.ts";
import { CliError } from "../errors.ts";

/** What is tried: `steps` learning rates from `from` to `to`, both included. */
export interface Sweep {
  readonly from: number;
  readonly to: number;
  readonly steps: number;
}

const TITLE = "Learning-rate test: ";

/** Groups keep how much faster or slower than the rest they learn. */
function scaleGroups(
  groups: Readonly<Record<string, GroupOptions>>,
  factor: number,
): Readonly<Record<string, GroupOptions>> {
  const scaled = Object.entries(groups).map(([name, options]): [string, GroupOptions] => [
    name,
    options.lr === undefined ? options : { ...options, lr: options.lr * factor },
  ]);
  return Object.fromEntries(scaled);
}

/** The definition with a base learning rate, and groups in proportion. Throws CliError where there is no proportion. */
export function withRate(
  { optimizer, groups }: Pick<SessionDefinition, "optimizer" | "groups">,
  lr: number,
): Pick<SessionDefinition, "optimizer" | "groups"> {
  const fixed = Object.entries(groups ?? {}).find(([, options]) => (options.lr ?? 0) > 0);
  if (optimizer.lr === 0 && fixed !== undefined) {
    throw new CliError(
      `the optimizer's lr is 0 and that of the group ${fixed[0]} is not, so that one cannot grow with the other: give the optimizer the rate, and what is to stay as it is a group with lr: 0`,
    );
  }
  const scaled = groups === undefined ? {} : { groups: scaleGroups(groups, lr / (optimizer.lr || 1)) };
  return { optimizer: { ...optimizer, lr }, ...scaled };
}

/**
 * Nothing is held out, averaged or stopped early, and the file's own schedule is left out. Samples are the ones that the
 * training begins with, over again where there are fewer than the steps take.
 */
export function sweepDefinition(definition: SessionDefinition, { from, to, steps }: Sweep): SessionDefinition {
  const { earlyStopping: _, average: __, data, ...kept } = definition;
  return {
    ...kept,
    ...withRate(definition, from),
    title: `${TITLE}${definition.title}`.slice(0, SESSION_LIMITS.titleCharacters),
    description: `A short measurement before a training: the learning rate grows from ${from} to ${to} in ${steps} steps.`,
    schedule: schedule.exponential({ gamma: (to / from) ** (1 / (steps - 1)) }),
    data: data.source === "dataset" ? { ...data, validation: [0, 0], test: [0, 0] } : data,
    epochs: Math.ceil(steps / planRun(definition).stepsPerEpoch),
    maxSteps: steps,
  };
}

/** What a session file calls each optimizer, and how it makes one with all defaults. */
const MAKERS: {
  readonly [Kind in OptimizerOptions["kind"]]: readonly [name: string, make: (lr: number) => OptimizerOptions];
} = {
  sgd: ["sgd", (lr) => optim.sgd({ lr })],
  adam: ["adam", (lr) => optim.adam({ lr })],
  adamw: ["adamW", (lr) => optim.adamW({ lr })],
  rmsprop: ["rmsProp", (lr) => optim.rmsProp({ lr })],
  adagrad: ["adagrad", (lr) => optim.adagrad({ lr })],
  lion: ["lion", (lr) => optim.lion({ lr })],
};

/** A learning rate as one writes it: two digits are all that a test can tell. */
export function formatRate(lr: number): string {
  const rounded = Number(lr.toPrecision(2));
  return rounded >= 0.01 && rounded < 1e4 ? String(rounded) : rounded.toExponential().replace("e+", "e");
}

/** The line of a session file that makes this optimizer with this learning rate, as `optim.adam({ lr: 2e-3 })`. */
export function optimizerLine(options: OptimizerOptions, lr: number): string {
  const [name, make] = MAKERS[options.kind];
  const usual: Readonly<Record<string, unknown>> = make(options.lr);
  const { beta1, beta2, ...plain }: Readonly<Record<string, unknown>> = options;
  const betas = beta1 === usual.beta1 && beta2 === usual.beta2 ? [] : [`betas: [${beta1}, ${beta2}]`];
  const others = Object.entries(plain).filter(([key, value]) => value !== usual[key]);
  const given = [`lr: ${formatRate(lr)}`, ...betas, ...others.map(([key, value]) => `${key}: ${value}`)];
  return `optimizer: optim.${name}({ ${given.join(", ")} }),`;
}
