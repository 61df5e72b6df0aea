/**
 * The learning rate over time, as data by PyTorch's names, and its value at a step: a pure function of the step and of the
 * evaluations made, both of which are durable, so that there is no schedule state that could be lost. Formulas are those of
 * https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate in closed form.
 */

import * as v from "valibot";
import type { Evaluated } from "./early-stopping.ts";
import { isGain } from "./figures.ts";
import type { OptimizerOptions } from "./optimizer.ts";
import { count, finite } from "./schemas.ts";

const positiveCount = v.pipe(count, v.minValue(1));
const nonNegative = v.pipe(finite, v.minValue(0));
const above = v.pipe(
  finite,
  v.check((value) => value > 0, "must be above 0"),
);
const portion = v.pipe(nonNegative, v.maxValue(1));
const below1 = v.pipe(
  portion,
  v.check((value) => value < 1, "must be below 1"),
);
/** Rising, as the points of time that they are. */
const milestones = v.pipe(
  v.array(count),
  v.maxLength(64),
  v.check((values) => values.every((value, at) => at === 0 || value > values[at - 1]), "must rise"),
);

/** Everything counts in the schedule's unit, steps or epochs. A length left out is what remains of the run. */
const RULES = [
  v.strictObject({ kind: v.literal("constant") }),
  /** × gamma every `stepSize`. */
  v.strictObject({ kind: v.literal("step"), stepSize: positiveCount, gamma: nonNegative }),
  /** × gamma at each milestone. */
  v.strictObject({ kind: v.literal("multiStep"), milestones, gamma: nonNegative }),
  /** × gamma every time. */
  v.strictObject({ kind: v.literal("exponential"), gamma: above }),
  /** A factor from `startFactor` to `endFactor` in a straight line, which then stays. */
  v.strictObject({
    kind: v.literal("linear"),
    startFactor: nonNegative,
    endFactor: nonNegative,
    totalIters: v.exactOptional(positiveCount),
  }),
  /** Half a cosine from the learning rate down to `etaMin` in `tMax`. */
  v.strictObject({ kind: v.literal("cosine"), tMax: v.exactOptional(positiveCount), etaMin: nonNegative }),
  /** Half cosines, the first of length `t0` and each `tMult` times as long as the one before. */
  v.strictObject({ kind: v.literal("warmRestarts"), t0: positiveCount, tMult: positiveCount, etaMin: nonNegative }),
  /** Up from lr / divFactor to lr, and down to a `finalDivFactor`th of where it began; momentum the other way round. */
  v.strictObject({
    kind: v.literal("oneCycle"),
    totalSteps: v.exactOptional(positiveCount),
    pctStart: portion,
    annealStrategy: v.picklist(["cos", "linear"]),
    divFactor: above,
    finalDivFactor: above,
    threePhase: v.boolean(),
    cycleMomentum: v.boolean(),
    baseMomentum: below1,
    maxMomentum: below1,
  }),
  /** × factor when `metric`, measured on held-out samples, has not got better for more than `patience` evaluations. */
  v.strictObject({
    kind: v.literal("plateau"),
    metric: v.pipe(v.string(), v.maxLength(128)),
    factor: below1,
    patience: count,
    threshold: nonNegative,
    thresholdMode: v.picklist(["rel", "abs"]),
    cooldown: count,
    minLr: nonNegative,
    eps: nonNegative,
  }),
] as const;

const ruleSchema = v.variant("kind", RULES);

export const scheduleSchema = v.strictObject({
  /** What the rule counts in. */
  per: v.picklist(["step", "epoch"]),
  rule: v.variant("kind", [
    ...RULES,
    /** One rule after another: rule i + 1 begins, at its own 0, at milestone i. */
    v.pipe(
      v.strictObject({
        kind: v.literal("sequential"),
        rules: v.pipe(v.array(ruleSchema), v.minLength(1), v.maxLength(16)),
        milestones,
      }),
      v.check(
        ({ rules, milestones: points }) => points.length === rules.length - 1,
        "has one milestone fewer than rules",
      ),
    ),
  ]),
});

type SimpleRule = v.InferOutput<typeof ruleSchema>;
export type Schedule = v.InferOutput<typeof scheduleSchema>;
export type Plateau = Extract<SimpleRule, { kind: "plateau" }>;
type OneCycle = Extract<SimpleRule, { kind: "oneCycle" }>;

/** A moment of a run. */
export interface Moment {
  /** Updates done before the one whose rate is asked for. */
  readonly step: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  /** `reductionsOf` the evaluations so far. */
  readonly reductions: number;
}

interface Span {
  /** In the schedule's unit, from the rule's beginning. */
  readonly at: number;
  /** From the rule's beginning to the end of the run. */
  readonly length: number;
  readonly reductions: number;
}

interface Rate {
  readonly lr: number;
  /** Null where the rule leaves momentum alone. */
  readonly momentum: number | null;
}

const cosine = (from: number, to: number, portionDone: number): number =>
  to + ((from - to) * (1 + Math.cos(Math.PI * portionDone))) / 2;

const straight = (from: number, to: number, portionDone: number): number => from + (to - from) * portionDone;

type Rates = {
  readonly [Kind in SimpleRule["kind"]]: (
    rule: Extract<SimpleRule, { kind: Kind }>,
    lr: number,
    span: Span,
  ) => number | Rate;
};

const RATES: Rates = {
  constant: (_, lr) => lr,
  step: ({ stepSize, gamma }, lr, { at }) => lr * gamma ** Math.floor(at / stepSize),
  multiStep: ({ milestones: points, gamma }, lr, { at }) => lr * gamma ** points.filter((point) => point <= at).length,
  exponential: ({ gamma }, lr, { at }) => lr * gamma ** at,
  linear: ({ startFactor, endFactor, totalIters }, lr, { at, length }) =>
    lr * straight(startFactor, endFactor, Math.min(1, at / (totalIters ?? length))),
  cosine: ({ tMax, etaMin }, lr, { at, length }) => cosine(lr, etaMin, at / (tMax ?? length)),
  warmRestarts: ({ t0, tMult, etaMin }, lr, { at }) => {
    let length = t0;
    let since = tMult === 1 ? at % t0 : at;
    while (since >= length) {
      since -= length;
      length *= tMult;
    }
    return cosine(lr, etaMin, since / length);
  },
  oneCycle,
  plateau: ({ factor, minLr, eps }, lr, { reductions }) => {
    let rate = lr;
    for (let done = 0; done < reductions; done++) {
      const next = Math.max(rate * factor, minLr);
      if (rate - next <= eps) break;
      rate = next;
    }
    return rate;
  },
};

function oneCycle(rule: OneCycle, lr: number, { at, length }: Span): Rate {
  const { pctStart, annealStrategy, divFactor, finalDivFactor, threePhase, baseMomentum, maxMomentum } = rule;
  const total = rule.totalSteps ?? length;
  const first = lr / divFactor;
  const last = first / finalDivFactor;
  const phases = threePhase
    ? [
        { end: pctStart * total - 1, rates: [first, lr], momenta: [maxMomentum, baseMomentum] },
        { end: 2 * pctStart * total - 2, rates: [lr, first], momenta: [baseMomentum, maxMomentum] },
        { end: total - 1, rates: [first, last], momenta: [maxMomentum, maxMomentum] },
      ]
    : [
        { end: pctStart * total - 1, rates: [first, lr], momenta: [maxMomentum, baseMomentum] },
        { end: total - 1, rates: [lr, last], momenta: [baseMomentum, maxMomentum] },
      ];
  const found = phases.findIndex(({ end }) => at <= end);
  const index = found < 0 ? phases.length - 1 : found;
  const { end, rates, momenta } = phases[index];
  const start = index === 0 ? 0 : phases[index - 1].end;
  const done = end > start ? Math.min(1, (at - start) / (end - start)) : 1;
  const anneal = annealStrategy === "cos" ? cosine : straight;
  return {
    lr: anneal(rates[0], rates[1], done),
    momentum: rule.cycleMomentum ? anneal(momenta[0], momenta[1], done) : null,
  };
}

/** The optimizer with what the schedule makes of its learning rate, and of its momentum, for one update. */
export function scheduled<Options extends OptimizerOptions>(
  options: Options,
  schedule: Schedule | undefined,
  moment: Moment,
): Options {
  if (schedule === undefined) return options;
  const { rule, span } = ruleAt(schedule, moment);
  const rate = (RATES[rule.kind] as Rates["plateau"])(rule as Plateau, options.lr, span);
  const { lr, momentum }: Rate = typeof rate === "number" ? { lr: rate, momentum: null } : rate;
  return { ...options, lr, ...(momentum === null ? {} : { [momentumOf(options) ?? "momentum"]: momentum }) };
}

function ruleAt({ per, rule }: Schedule, moment: Moment): { rule: SimpleRule; span: Span } {
  const { step, stepsPerEpoch, totalSteps, reductions } = moment;
  const at = per === "step" ? step : Math.floor(step / stepsPerEpoch);
  const length = per === "step" ? totalSteps : Math.ceil(totalSteps / stepsPerEpoch);
  if (rule.kind !== "sequential") return { rule, span: { at, length, reductions } };
  const index = rule.milestones.filter((point) => point <= at).length;
  const start = index === 0 ? 0 : rule.milestones[index - 1];
  // A rule followed by another lasts until that begins.
  const end = Math.max(start + 1, rule.milestones[index] ?? length);
  return { rule: rule.rules[index], span: { at: at - start, length: end - start, reductions } };
}

/** The option that one-cycle moves, null for an optimizer that goes without. */
export function momentumOf(options: OptimizerOptions): "beta1" | "momentum" | null {
  if ("beta1" in options) return "beta1";
  return "momentum" in options && options.momentum > 0 ? "momentum" : null;
}

/** All simple rules of a schedule. */
export const rulesOf = ({ rule }: Schedule): readonly SimpleRule[] =>
  rule.kind === "sequential" ? rule.rules : [rule];

/**
 * How often a plateau was met, as PyTorch's ReduceLROnPlateau counts; 0 for a schedule that does not look at evaluations.
 * @param evaluations all so far, oldest first
 */
export function reductionsOf(schedule: Schedule | undefined, evaluations: readonly Evaluated[]): number {
  const plateau = schedule === undefined ? undefined : rulesOf(schedule).find((rule) => rule.kind === "plateau");
  if (plateau === undefined) return 0;
  const { metric, patience, cooldown } = plateau;
  let best: number | null = null;
  let [bad, cooling, reductions] = [0, 0, 0];
  for (const { loss, metrics } of evaluations) {
    const value = metric === "loss" ? loss : (metrics[metric] ?? null);
    if (value === null) continue;
    if (best === null || isBetterBy(plateau, value, best)) {
      best = value;
      bad = 0;
    } else bad += 1;
    if (cooling > 0) {
      cooling -= 1;
      bad = 0;
    }
    if (bad <= patience) continue;
    reductions += 1;
    cooling = cooldown;
    bad = 0;
  }
  return reductions;
}

function isBetterBy({ metric, threshold, thresholdMode }: Plateau, value: number, best: number): boolean {
  if (isGain(metric)) return value > (thresholdMode === "rel" ? best * (1 + threshold) : best + threshold);
  return value < (thresholdMode === "rel" ? best * (1 - threshold) : best - threshold);
}
