import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { optim, schedule } from "../../../shared/nn/index.ts";
import { reductionsOf, type Schedule, scheduled } from "../../../shared/session/schedule.ts";

interface Fixtures {
  readonly schedules: Readonly<Record<string, readonly (readonly [lr: number, beta1: number])[]>>;
  readonly losses: readonly number[];
  readonly plateaus: Readonly<Record<string, readonly number[]>>;
}

const fixtures = JSON.parse(
  readFileSync(new URL("../../fixtures/optimizers.json", import.meta.url), "utf8"),
) as Fixtures;
const optimizer = optim.adam({ lr: 0.05 });
const STEPS = 40;

const SCHEDULES: Readonly<Record<string, Schedule>> = {
  constant: schedule.constant(),
  step: schedule.step({ stepSize: 7, gamma: 0.3 }),
  multiStep: schedule.multiStep({ milestones: [3, 10, 31], gamma: 0.2 }),
  exponential: schedule.exponential({ gamma: 0.93 }),
  linear: schedule.linear({ startFactor: 0.1, endFactor: 0.8, totalIters: 12 }),
  cosine: schedule.cosine({ tMax: 25, etaMin: 0.001 }),
  warmRestarts: schedule.warmRestarts({ t0: 6, etaMin: 0.002 }),
  "warmRestarts, growing": schedule.warmRestarts({ t0: 5, tMult: 2 }),
  oneCycle: schedule.oneCycle(),
  "oneCycle, three phases, linear": schedule.oneCycle({
    totalSteps: 40,
    pctStart: 0.25,
    annealStrategy: "linear",
    threePhase: true,
    divFactor: 10,
  }),
  "warmup, cosine": schedule.warmup(8, schedule.cosine(), 0.01),
};

const PLATEAUS: Readonly<Record<string, Schedule>> = {
  plateau: schedule.reduceOnPlateau({ patience: 1, factor: 0.5 }),
  "plateau, absolute, cooling": schedule.reduceOnPlateau({
    patience: 0,
    factor: 0.5,
    threshold: 0.02,
    thresholdMode: "abs",
    cooldown: 3,
    minLr: 0.004,
  }),
  "plateau, gains": schedule.reduceOnPlateau({ metric: "correct", patience: 2, factor: 0.1 }),
};

const at = (rule: Schedule | undefined, step: number, reductions = 0, stepsPerEpoch = 10) =>
  scheduled(optimizer, rule, { step, stepsPerEpoch, totalSteps: STEPS, reductions });

describe("a schedule agrees with PyTorch at every step:", () => {
  it("no fixture is left out", () => {
    expect(Object.keys(SCHEDULES).sort()).toEqual(Object.keys(fixtures.schedules).sort());
    expect(Object.keys(PLATEAUS).sort()).toEqual(Object.keys(fixtures.plateaus).sort());
  });

  for (const [name, rule] of Object.entries(SCHEDULES)) {
    it(name, () => {
      for (const [step, [lr, beta1]] of fixtures.schedules[name].entries()) {
        const got = at(rule, step);
        expect(Math.abs(got.lr - lr), `step ${step}: ${got.lr}, ${lr}`).toBeLessThanOrEqual(1e-12);
        expect(Math.abs(got.beta1 - beta1)).toBeLessThanOrEqual(1e-12);
      }
    });
  }

  for (const [name, rule] of Object.entries(PLATEAUS)) {
    it(name, () => {
      const evaluations = fixtures.losses.map((loss) => ({ loss, metrics: { correct: 1 - loss } }));
      for (const [index, lr] of fixtures.plateaus[name].entries()) {
        const reductions = reductionsOf(rule, evaluations.slice(0, index + 1));
        expect(at(rule, 0, reductions).lr, `evaluation ${index}`).toBeCloseTo(lr, 12);
      }
    });
  }
});

describe("a schedule", () => {
  it("that is absent leaves the optimizer as it is", () => {
    expect(at(undefined, 17)).toEqual(optimizer);
  });

  it("counts epochs where it says so", () => {
    const rule = schedule.step({ stepSize: 2, gamma: 0.5, per: "epoch" });
    const rates = [0, 9, 19, 20, 39].map((step) => at(rule, step).lr);
    expect(rates).toEqual([0.05, 0.05, 0.05, 0.025, 0.025]);
  });

  it("lasts as long as what follows lets it, where no length is given", () => {
    const rule = schedule.sequential([schedule.cosine(), schedule.constant()], [20]);
    expect(at(rule, 10).lr).toBeCloseTo(0.025, 12);
    expect(at(rule, 20).lr).toBe(0.05);
  });

  it("moves the momentum of optimizers that have one, and of no other", () => {
    const sgd = optim.sgd({ lr: 0.1, momentum: 0.9 });
    const moment = { step: 0, stepsPerEpoch: 10, totalSteps: STEPS, reductions: 0 };
    expect(scheduled(sgd, schedule.oneCycle(), moment).momentum).toBe(0.95);
    const adagrad = optim.adagrad();
    expect(scheduled(adagrad, schedule.oneCycle({ cycleMomentum: false }), moment)).not.toHaveProperty("momentum");
  });

  it("refuses a sequence that counts in two units", () => {
    const mixed = [schedule.constant(), schedule.constant({ per: "epoch" })];
    expect(() => schedule.sequential(mixed, [3])).toThrow("one unit");
  });
});
