import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createKernels, LocalParameterShard, updateRule } from "../../../coordinator/optim/index.ts";
import { clipScale, type RuleDefinition } from "../../../coordinator/optim/rule.ts";
import { blockCount, gridScale } from "../../../shared/codec/index.ts";
import type { Parameter } from "../../../shared/graph/ir.ts";
import { optim } from "../../../shared/nn/index.ts";

interface Fixtures {
  readonly weights: readonly number[];
  readonly gradients: readonly (readonly number[])[];
  readonly optimizers: Readonly<Record<string, readonly (readonly number[])[]>>;
  readonly groups: readonly (readonly [readonly number[], readonly number[]])[];
}

const fixtures = JSON.parse(
  readFileSync(new URL("../../fixtures/optimizers.json", import.meta.url), "utf8"),
) as Fixtures;
const module = new WebAssembly.Module(
  readFileSync(new URL("../../../coordinator/optim/kernels.wasm", import.meta.url)),
);

const COUNT = fixtures.weights.length;
const BITS = 24;
/** The grid of the fixtures' gradients. */
const EXPONENT = Array.from({ length: 255 }, (_, at) => at).find((at) => gridScale(BITS, at) === 2 ** 20)!;
const announced = new Uint8Array(blockCount(COUNT)).fill(EXPONENT);

const parameter = (name: string, offset: number, size: number, more: Partial<Parameter> = {}): Parameter => ({
  name,
  shape: [size],
  offset,
  trainable: true,
  init: { kind: "constant", value: 0 },
  ...more,
});

type Rule = Omit<RuleDefinition, "graph"> & { readonly parameters?: readonly Parameter[] };

/** What is measured after each of the fixtures' steps, through the shipped kernels. */
async function train({ parameters = [parameter("weight", 0, COUNT)], ...definition }: Rule): Promise<Float32Array[]> {
  const rule = updateRule({ ...definition, graph: { parameters } });
  const kernels = createKernels(module, COUNT, rule.states);
  const log = { append: () => {} };
  const shard = new LocalParameterShard({ kernels, rule, codec: "fixed32", bits: BITS, microBatches: 1, log });
  for (const [name, values] of Object.entries(shard.snapshot())) {
    if (name === "weights" || name === "average") values.set(fixtures.weights);
    if (definition.optimizer.kind === "adagrad" && name === "sum") values.fill(definition.optimizer.initialAccumulator);
  }
  const steps: Float32Array[] = [];
  for (const [step, gradient] of fixtures.gradients.entries()) {
    shard.begin(announced);
    shard.add([new Uint8Array(Int32Array.from(gradient, (value) => value * 2 ** 20).buffer)], 1);
    const { squaredNorm } = await shard.prepare(step, { weight: 2n ** 24n, maxima: announced });
    const optimizers = rule.groups.map(({ options }) => options);
    await shard.commit(step, { scale: clipScale(rule, squaredNorm), optimizers });
    steps.push(shard.measured().slice());
  }
  return steps;
}

/** Relative L2 distance over the fixture's values. */
function distance(got: ArrayLike<number>, expected: readonly number[], from = 0): number {
  const difference = expected.reduce((sum, value, at) => sum + (got[from + at] - value) ** 2, 0);
  return Math.sqrt(difference / expected.reduce((sum, value) => sum + value ** 2, 0));
}

const CASES: Readonly<Record<string, Rule>> = {
  sgd: { optimizer: optim.sgd({ lr: 0.1 }) },
  "sgd, weight decay": { optimizer: optim.sgd({ lr: 0.1, weightDecay: 0.05 }) },
  "sgd, momentum": { optimizer: optim.sgd({ lr: 0.05, momentum: 0.9 }) },
  "sgd, dampening": { optimizer: optim.sgd({ lr: 0.05, momentum: 0.8, dampening: 0.3, weightDecay: 0.01 }) },
  "sgd, nesterov": { optimizer: optim.sgd({ lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 0.01 }) },
  adam: { optimizer: optim.adam({ lr: 0.01 }) },
  "adam, weight decay": { optimizer: optim.adam({ lr: 0.01, betas: [0.8, 0.95], eps: 1e-6, weightDecay: 0.1 }) },
  adamw: { optimizer: optim.adamW({ lr: 0.01, weightDecay: 0.1 }) },
  rmsprop: { optimizer: optim.rmsProp({ lr: 0.01 }) },
  "rmsprop, momentum": { optimizer: optim.rmsProp({ lr: 0.01, alpha: 0.9, momentum: 0.7, weightDecay: 0.02 }) },
  "rmsprop, centered": { optimizer: optim.rmsProp({ lr: 0.01, centered: true }) },
  "rmsprop, centered, momentum": { optimizer: optim.rmsProp({ lr: 0.01, centered: true, momentum: 0.5 }) },
  adagrad: { optimizer: optim.adagrad({ lr: 0.1 }) },
  "adagrad, lr decay": {
    optimizer: optim.adagrad({ lr: 0.1, lrDecay: 0.1, initialAccumulator: 0.2, weightDecay: 0.03 }),
  },
  lion: { optimizer: optim.lion({ lr: 0.01 }) },
  "lion, weight decay": { optimizer: optim.lion({ lr: 0.02, betas: [0.85, 0.95], weightDecay: 0.1 }) },
  "clipped norm": { optimizer: optim.sgd({ lr: 0.1 }), clipping: { norm: 1.5 } },
  "clipped value": { optimizer: optim.adam({ lr: 0.01 }), clipping: { value: 0.4 } },
  l1: { optimizer: optim.sgd({ lr: 0.1, l1: 0.03 }) },
  average: { optimizer: optim.adam({ lr: 0.01 }), average: { decay: 0.7 } },
};

describe("the kernels agree with PyTorch over five steps:", () => {
  it("no fixture is left out", () => {
    expect(Object.keys(CASES).sort()).toEqual(Object.keys(fixtures.optimizers).sort());
  });

  for (const [name, definition] of Object.entries(CASES)) {
    it(name, async () => {
      const steps = await train(definition);
      for (const [step, expected] of fixtures.optimizers[name].entries()) {
        expect(distance(steps[step], expected), `step ${step + 1}`).toBeLessThanOrEqual(1e-5);
      }
    });
  }

  it("groups with a learning rate and a decay of their own", async () => {
    const half = COUNT / 2;
    const steps = await train({
      optimizer: optim.adamW({ lr: 0.01, weightDecay: 0.1 }),
      groups: { second: { lr: 0.003, weightDecay: 0 } },
      parameters: [parameter("first", 0, half), parameter("second", half, half, { group: "second" })],
    });
    for (const [step, halves] of fixtures.groups.entries()) {
      expect(distance(steps[step], halves[0])).toBeLessThanOrEqual(1e-5);
      expect(distance(steps[step], halves[1], half)).toBeLessThanOrEqual(1e-5);
    }
  });
});

describe("what is not trained", () => {
  it("is left alone by every optimizer, whatever its penalties", async () => {
    for (const { optimizer } of Object.values(CASES)) {
      const steps = await train({
        optimizer: { ...optimizer, weightDecay: 0.5, l1: 0.5 },
        parameters: [parameter("trained", 0, 128), parameter("frozen", 128, COUNT - 128, { trainable: false })],
      });
      expect([...steps[4].subarray(128)], optimizer.kind).toEqual(fixtures.weights.slice(128));
    }
  });
});
