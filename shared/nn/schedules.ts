/**
 * Learning-rate schedules by PyTorch's names and defaults, as data (shared/session/schedule.ts has the arithmetic). They
 * count steps, or epochs with `per: "epoch"`; where a length is left out, it is what remains of the run.
 */

import { GraphError } from "../graph/error.ts";
import type { Schedule } from "../session/schedule.ts";

/** What a schedule counts in, `"step"` if left out. */
export interface Unit {
  per?: Schedule["per"];
}

/** The learning rate as it is. */
export const constant = ({ per = "step" }: Unit = {}): Schedule => ({ per, rule: { kind: "constant" } });

/** × gamma every `stepSize`. https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.StepLR.html */
export const step = ({
  stepSize,
  gamma = 0.1,
  per = "step",
}: Unit & { stepSize: number; gamma?: number }): Schedule => ({
  per,
  rule: { kind: "step", stepSize, gamma },
});

/** × gamma at each milestone. https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.MultiStepLR.html */
export const multiStep = ({
  milestones,
  gamma = 0.1,
  per = "step",
}: Unit & { milestones: readonly number[]; gamma?: number }): Schedule => ({
  per,
  rule: { kind: "multiStep", milestones: [...milestones], gamma },
});

/** × gamma every time. https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ExponentialLR.html */
export const exponential = ({ gamma, per = "step" }: Unit & { gamma: number }): Schedule => ({
  per,
  rule: { kind: "exponential", gamma },
});

/** A factor in a straight line. https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html */
export const linear = ({
  startFactor = 1 / 3,
  endFactor = 1,
  totalIters,
  per = "step",
}: Unit & { startFactor?: number; endFactor?: number; totalIters?: number } = {}): Schedule => ({
  per,
  rule: { kind: "linear", startFactor, endFactor, ...(totalIters === undefined ? {} : { totalIters }) },
});

/** Half a cosine down to `etaMin`. https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingLR.html */
export const cosine = ({
  tMax,
  etaMin = 0,
  per = "step",
}: Unit & { tMax?: number; etaMin?: number } = {}): Schedule => ({
  per,
  rule: { kind: "cosine", ...(tMax === undefined ? {} : { tMax }), etaMin },
});

/** Cosines that begin anew. https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingWarmRestarts.html */
export const warmRestarts = ({
  t0,
  tMult = 1,
  etaMin = 0,
  per = "step",
}: Unit & { t0: number; tMult?: number; etaMin?: number }): Schedule => ({
  per,
  rule: { kind: "warmRestarts", t0, tMult, etaMin },
});

/**
 * Up to the optimizer's learning rate, which is the largest, and down to nearly nothing; momentum the other way round.
 * https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html
 */
export const oneCycle = ({
  totalSteps,
  pctStart = 0.3,
  annealStrategy = "cos",
  cycleMomentum = true,
  baseMomentum = 0.85,
  maxMomentum = 0.95,
  divFactor = 25,
  finalDivFactor = 1e4,
  threePhase = false,
  per = "step",
}: Unit & {
  totalSteps?: number;
  pctStart?: number;
  annealStrategy?: "cos" | "linear";
  cycleMomentum?: boolean;
  baseMomentum?: number;
  maxMomentum?: number;
  divFactor?: number;
  finalDivFactor?: number;
  threePhase?: boolean;
} = {}): Schedule => ({
  per,
  rule: {
    kind: "oneCycle",
    ...(totalSteps === undefined ? {} : { totalSteps }),
    pctStart,
    annealStrategy,
    divFactor,
    finalDivFactor,
    threePhase,
    cycleMomentum,
    baseMomentum,
    maxMomentum,
  },
});

/**
 * × factor when held-out samples gain nothing for more than `patience` evaluations; it looks after every epoch.
 * https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html
 */
export const reduceOnPlateau = ({
  metric = "loss",
  factor = 0.1,
  patience = 10,
  threshold = 1e-4,
  thresholdMode = "rel",
  cooldown = 0,
  minLr = 0,
  eps = 1e-8,
  per = "step",
}: Unit & {
  metric?: string;
  factor?: number;
  patience?: number;
  threshold?: number;
  thresholdMode?: "rel" | "abs";
  cooldown?: number;
  minLr?: number;
  eps?: number;
} = {}): Schedule => ({
  per,
  rule: { kind: "plateau", metric, factor, patience, threshold, thresholdMode, cooldown, minLr, eps },
});

/**
 * One schedule after another, each beginning at its own 0: schedule i + 1 at milestone i. All count in the same unit.
 * https://pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.SequentialLR.html
 */
export function sequential(schedules: readonly Schedule[], milestones: readonly number[]): Schedule {
  const [{ per } = { per: "step" as const }] = schedules;
  const rules = schedules.map((schedule) => {
    if (schedule.per !== per) {
      throw new GraphError("structure", `a sequence of schedules counts in one unit, got ${per} and ${schedule.per}`);
    }
    if (schedule.rule.kind === "sequential") {
      throw new GraphError("structure", "a sequence of schedules cannot hold another: give all in one");
    }
    return schedule.rule;
  });
  return { per, rule: { kind: "sequential", rules, milestones: [...milestones] } };
}

/** From `startFactor` of the learning rate up to all of it in `totalIters`, and then another schedule. */
export const warmup = (totalIters: number, then: Schedule = constant(), startFactor = 0): Schedule =>
  sequential([linear({ startFactor, endFactor: 1, totalIters, per: then.per }), then], [totalIters]);
