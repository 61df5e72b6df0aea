import { describe, expect, it } from "vitest";
import { positive } from "../../cli/arguments.ts";
import { type Curve, curveOf, type Measured, movingAverage, smooth } from "../../cli/lr-find/curve.ts";
import { formatRate, optimizerLine, sweepDefinition, withRate } from "../../cli/lr-find/session.ts";
import { type Suggestion, suggest } from "../../cli/lr-find/suggestion.ts";
import { findLearningRate } from "../../cli/lr-find.ts";
import { dataset, defineSession, loss, nn, optim, schedule } from "../../shared/nn/index.ts";
import type { OptimizerOptions } from "../../shared/session/optimizer.ts";
import { planRun } from "../../shared/session/plan.ts";
import { scheduled } from "../../shared/session/schedule.ts";
import { parseDefinition } from "../../shared/session/validate.ts";
import { coordinatorBudget } from "../../workers/limits.ts";

const STEPS = 100;
const [FROM, TO] = [1e-6, 10];
const RATES = Array.from({ length: STEPS }, (_, step) => FROM * (TO / FROM) ** (step / (STEPS - 1)));

/** A curve over all rates. */
const measured = (lossAt: (lr: number) => number): Measured[] => RATES.map((lr) => ({ lr, loss: lossAt(lr) }));
const curve = (steps: readonly Measured[], failed = false): Curve => curveOf({ steps, planned: STEPS, failed });

/** A fall of 2, half done at `middle`, and from `end` on a rise that has no bounds. */
const fall = (middle: number, end: number) => (lr: number) =>
  0.3 + 2 / (1 + (lr / middle) ** 2) + (lr > end ? (lr / end) ** 3 - 1 : 0);

/** Noise that is the same in every run. */
const noise = (at: number): number => ((Math.sin(at * 12.9898) * 43758.5453) % 1) / 2;

function suggested(of: Curve): Suggestion {
  const suggestion = suggest(of);
  if ("none" in suggestion) throw new Error(suggestion.none);
  return suggestion;
}

/** Steps of the sweep between two rates. */
const stepsApart = (a: number, b: number): number =>
  (Math.abs(Math.log10(a / b)) / Math.log10(TO / FROM)) * (STEPS - 1);

describe("smoothing", () => {
  it("is a moving average with its bias corrected", () => {
    // By hand: 1; (0.5 · 1 + 3) / 1.5; (0.5 · 3.5 + 7) / 1.75.
    expect(movingAverage([1, 3, 7], 0.5)).toEqual([1, 3.5 / 1.5, 8.75 / 1.75]);
  });

  it("weighs what lies d steps away by memory^d on both sides", () => {
    const [first, middle] = smooth([1, 3, 7], 0.5);
    expect(first).toBeCloseTo((1 + 3 / 2 + 7 / 4) / 1.75, 12);
    expect(middle).toBeCloseTo((1 / 2 + 3 + 7 / 2) / 2, 12);
  });

  it("leaves what does not change, and does not know which way is forward", () => {
    for (const value of smooth([2, 2, 2, 2], 0.9)) expect(value).toBeCloseTo(2, 12);
    const values = [3, 1, 4, 1, 5, 9, 2, 6];
    const forward = smooth(values, 0.8);
    const backward = smooth([...values].reverse(), 0.8).reverse();
    for (const [at, value] of forward.entries()) expect(value).toBeCloseTo(backward[at]!, 12);
  });
});

describe("where training falls apart", () => {
  it("is where the average is four times the best, and the curve ends there", () => {
    const { points, hasDiverged } = curve(measured(fall(1e-3, 0.1)));
    expect(hasDiverged).toBe(true);
    expect(points.length).toBeLessThan(STEPS);
    const averages = movingAverage(
      points.map(({ loss }) => loss),
      10 / 11,
    );
    const isApart = averages.map((average, at) => average > 4 * Math.min(...averages.slice(11, at + 1)));
    expect(isApart.indexOf(true)).toBe(averages.length - 1);
  });

  it("is not where the first batches differ", () => {
    const steps = measured(() => 1).map((step, at) => (at === 0 ? { ...step, loss: 0.1 } : step));
    expect(curve(steps)).toMatchObject({ hasDiverged: false, points: { length: STEPS } });
  });

  it("is found where losses are below 0", () => {
    const below = (lr: number): number => fall(1e-3, 0.1)(lr) - 5;
    expect(curve(measured(below)).hasDiverged).toBe(true);
    expect(curve(measured((lr) => Math.min(-1, below(lr)))).hasDiverged).toBe(false);
  });

  it("is a loss that is no number", () => {
    const { points, hasDiverged } = curve(measured((lr) => (lr > 0.01 ? Number.NaN : 1)));
    expect(hasDiverged).toBe(true);
    expect(points.at(-1)!.lr).toBeLessThanOrEqual(0.01);
  });

  it("is where the session failed, with all that was measured until then", () => {
    expect(curve(measured(() => 1).slice(0, 50), true)).toMatchObject({ hasDiverged: true, points: { length: 50 } });
  });

  it("hides nothing of the fall, however high the last loss is", () => {
    const steps = measured(fall(1e-3, 0.1)).filter(({ lr }) => lr < 0.12);
    const usual = suggested(curve(steps));
    const extreme = suggested(curve([...steps, { lr: 0.13, loss: 2 ** 38 }]));
    expect(stepsApart(extreme.steepest.lr, usual.steepest.lr)).toBeLessThan(1);
    // Half a power of ten, to the careful side: the last loss counts for as much as the first one does.
    expect(stepsApart(extreme.least.lr, usual.least.lr)).toBeLessThan(7);
  });
});

describe("the suggestion", () => {
  it.each([1e-4, 1e-3, 1e-2])("is where the loss falls most steeply: %f", (middle) => {
    const { steepest } = suggested(curve(measured(fall(middle, 0.5))));
    expect(stepsApart(steepest.lr, middle)).toBeLessThan(2);
  });

  it("is hardly moved by batches that differ", () => {
    const steps = measured(fall(1e-3, 0.1)).map(({ lr, loss }, at) => ({ lr, loss: loss + 0.2 * noise(at) }));
    expect(stepsApart(suggested(curve(steps)).steepest.lr, 1e-3)).toBeLessThan(4);
  });

  it("comes with a tenth of where the loss is least", () => {
    const { least, tenthOfLeast } = suggested(curve(measured(fall(1e-3, 0.1))));
    expect(tenthOfLeast).toBe(least.lr / 10);
    expect(least.lr).toBeGreaterThan(0.01);
    expect(least.lr).toBeLessThan(0.15);
  });

  it("is before the least loss, also where a rise and a steeper fall follow", () => {
    const bump = (lr: number): number => (lr > 1 ? 0.1 : lr > 0.05 ? 0.8 : 0);
    const { steepest, least } = suggested(curve(measured((lr) => 0.3 + 0.6 / (1 + lr / 1e-3) + bump(lr))));
    expect(least.lr).toBeLessThan(0.05);
    expect(stepsApart(steepest.lr, 1e-3)).toBeLessThan(2);
  });

  it.each<[name: string, steps: Measured[], failed: boolean, says: RegExp]>([
    [
      "batches that differ and nothing else",
      measured((lr) => 1 + noise(lr * 1e7)),
      false,
      /fell nowhere: .*--from and --to/,
    ],
    ["a rise from the beginning", measured((lr) => 1 + lr * 1e6), false, /fell nowhere before.*--from/],
    ["a failure after a few steps", measured(() => 1).slice(0, 5), true, /only 5 steps .*--from/],
    ["a stop after a few steps", measured(() => 1).slice(0, 5), false, /only 5 steps were done$/],
  ])("is none for %s", (_, steps, failed, says) => {
    expect(suggest(curve(steps, failed))).toEqual({ none: expect.stringMatching(says) });
  });
});

describe("the session of the test", () => {
  const definition = defineSession({
    title: "Any",
    model: nn.sequential(nn.linear(2, 4), nn.relu(), nn.linear(4, 2)),
    input: [2],
    loss: loss.crossEntropy(),
    optimizer: optim.sgd({ lr: 0.1, momentum: 0.9 }),
    groups: {
      frozen: { parameters: ({ name }) => name === "0.bias", lr: 0 },
      fast: { parameters: ({ name }) => name.startsWith("2."), lr: 0.5 },
    },
    clipping: { norm: 1 },
    average: { decay: 0.9 },
    schedule: schedule.reduceOnPlateau(),
    earlyStopping: { patience: 2 },
    data: dataset("any", { x: "x", y: "y", train: [0, 50], validation: [50, 60], test: [60, 70] }),
    batchSize: 20,
    epochs: 2,
  });
  const sweep = { from: 1e-5, to: 2, steps: 40 };
  const made = sweepDefinition(definition, sweep);

  it("is one that a coordinator takes", () => {
    expect(() => parseDefinition(JSON.parse(JSON.stringify(made)), coordinatorBudget)).not.toThrow();
  });

  it("takes every learning rate once, from the first to the last by one factor", () => {
    const plan = planRun(made);
    expect(plan.totalSteps).toBe(40);
    const rates = Array.from(
      { length: 40 },
      (_, step) => scheduled(made.optimizer, made.schedule, { ...plan, step, reductions: 0 }).lr,
    );
    expect(rates[0]).toBe(1e-5);
    expect(rates[39]).toBeCloseTo(2, 10);
    for (const [at, rate] of rates.entries()) expect(rate / (1e-5 * 2e5 ** (at / 39))).toBeCloseTo(1, 12);
  });

  it("keeps what is trained, and leaves out what ends a training or measures it", () => {
    const { graph, clipping, batchSize, seed } = definition;
    expect(made).toMatchObject({ graph, clipping, batchSize, seed, title: "Learning-rate test: Any" });
    expect(made).not.toHaveProperty("earlyStopping");
    expect(made).not.toHaveProperty("average");
    expect(made.data).toMatchObject({ train: [0, 50], validation: [0, 0], test: [0, 0] });
  });

  it("keeps the groups' learning rates in proportion, and frozen what is frozen", () => {
    expect(made.groups!.fast!.lr! / made.optimizer.lr).toBeCloseTo(5, 12);
    expect(made.groups!.frozen!.lr).toBe(0);
  });

  it("refuses a proportion to nothing", () => {
    const frozen = { ...definition, optimizer: optim.sgd({ lr: 0 }) };
    expect(() => withRate(frozen, 1)).toThrow("the optimizer's lr is 0 and that of the group fast is not");
  });

  it("keeps a title within its limit", () => {
    const long = sweepDefinition({ ...definition, title: "x".repeat(200) }, sweep);
    expect(() => parseDefinition(long, coordinatorBudget)).not.toThrow();
  });
});

describe("the line for the session file", () => {
  it.each<[optimizer: OptimizerOptions, line: string]>([
    [optim.adam({ lr: 1 }), "optimizer: optim.adam({ lr: 2.1e-3 }),"],
    [optim.adamW(), "optimizer: optim.adamW({ lr: 2.1e-3 }),"],
    [optim.lion({ betas: [0.8, 0.9] }), "optimizer: optim.lion({ lr: 2.1e-3, betas: [0.8, 0.9] }),"],
    [
      optim.sgd({ lr: 1, momentum: 0.9, nesterov: true }),
      "optimizer: optim.sgd({ lr: 2.1e-3, momentum: 0.9, nesterov: true }),",
    ],
    [optim.rmsProp({ weightDecay: 0.01 }), "optimizer: optim.rmsProp({ lr: 2.1e-3, weightDecay: 0.01 }),"],
    [optim.adagrad({ l1: 1e-5 }), "optimizer: optim.adagrad({ lr: 2.1e-3, l1: 0.00001 }),"],
  ])("makes the same optimizer with another rate: %j", (optimizer, line) => {
    const written = optimizerLine(optimizer, 0.0021234);
    expect(written).toBe(line);
    // As the session file would read it.
    const read = new Function("optim", `return { ${written} }`)(optim) as { optimizer: OptimizerOptions };
    expect(read.optimizer).toEqual({ ...optimizer, lr: 0.0021 });
  });

  it.each([
    [0.0021234, "2.1e-3"],
    [1e-6, "1e-6"],
    [0.0199, "0.02"],
    [0.15, "0.15"],
    [3.16, "3.2"],
    [123, "120"],
    [56_789, "5.7e4"],
  ])("rounds %f to two digits", (lr, text) => {
    expect(formatRate(lr)).toBe(text);
  });
});

describe("the arguments", () => {
  it.each(["0", "-1", "", "1e999", "fast"])("refuse a learning rate of %j", (text) => {
    expect(() => positive(text)).toThrow("expected a number above 0");
  });

  it("refuse a range that does not grow", async () => {
    const options = {
      volunteers: 1,
      engine: ["auto"],
      json: false,
      data: "none",
      node: true,
      steps: 20,
      out: "none.svg",
    } as const;
    await expect(findLearningRate("none.ts", { ...options, from: 2, to: 1 })).rejects.toThrow(
      "--from 2 is not below --to 1: the learning rate grows",
    );
  });
});
