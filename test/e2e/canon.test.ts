/**
 * The canon: what the text on neural networks that this project was made from says, row by row, each as a small real case by
 * volunteers and a coordinator. Thorough tests are elsewhere, and are named beside each row.
 */

import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { BROWSER_FLAGS } from "../../cli/browser.ts";
import { startTabs } from "../../cli/browser-volunteers.ts";
import { Chromium } from "../../cli/devtools.ts";
import { type Local, type LocalSession, startLocal } from "../../cli/local.ts";
import { packageRoot } from "../../cli/root.ts";
import neuralNet, { onEpoch } from "../../examples/neural-net.ts";
import universalApproximation from "../../examples/universal-approximation.ts";
import { parameterLength } from "../../shared/graph/index.ts";
import {
  dataset,
  defineSession,
  loss,
  type Module,
  nn,
  optim,
  type SessionOptions,
  schedule,
} from "../../shared/nn/index.ts";
import { seedData } from "../fixtures/parity.ts";
import { numericGradient, relativeError } from "../shared/graph/finite-differences.ts";
import { JOIN, requireBrowser } from "./fleets.ts";

const folder = mkdtempSync(join(tmpdir(), "commonweight-canon-"));
let local: Local;
beforeAll(async () => {
  local = await startLocal();
});
afterAll(async () => {
  await local?.close();
  rmSync(folder, { recursive: true });
});

interface Rows {
  readonly x: Float32Array;
  readonly y: Float32Array;
  readonly inputs: number;
  readonly outputs: number;
  /** The last ones are only measured on. */
  readonly heldOut?: number;
}

let created = 0;

/** A session on the rows, all of them in every step unless told otherwise. */
async function create(
  { x, y, inputs, outputs, heldOut = 0 }: Rows,
  model: Module,
  options: Partial<SessionOptions> = {},
): Promise<LocalSession> {
  const samples = x.length / inputs - heldOut;
  const held = heldOut === 0 ? {} : { validation: [samples, samples + heldOut] as const };
  // A data set of its own for each: the rows of the canon are tested side by side.
  created += 1;
  const name = `rows-${created}`;
  const columns = { x: { values: x, shape: [inputs] }, y: { values: y, shape: [outputs] } };
  const definition = defineSession({
    title: "Canon",
    model,
    input: [inputs],
    loss: loss.mse(),
    optimizer: optim.sgd({ lr: 1 }),
    data: dataset(name, { x: "x", y: "y", train: [0, samples], ...held }),
    batchSize: samples,
    epochs: 1,
    ...options,
  });
  return local.create(definition, { datasets: { [name]: { columns } } });
}

const values = async (session: LocalSession, name: string): Promise<number[]> =>
  Array.from((await session.weights("latest")).get(name)!.values);

/** ∫ of the normal density by Simpson's rule, from far below: no formula for erf is trusted. */
function phi(x: number): number {
  const density = (at: number): number => Math.exp((-at * at) / 2) / Math.sqrt(2 * Math.PI);
  const [from, pieces] = [-12, 4_000];
  const width = (x - from) / pieces;
  let sum = density(from) + density(x);
  for (let i = 1; i < pieces; i++) sum += density(from + i * width) * (i % 2 === 0 ? 2 : 4);
  return (sum * width) / 3;
}

const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));

/** Each activation by the text's own formula, and its derivative. */
const ACTIVATIONS: Readonly<
  Record<string, { layer: () => Module; a: (z: number) => number; da: (z: number) => number }>
> = {
  sigmoid: { layer: nn.sigmoid, a: sigmoid, da: (z) => sigmoid(z) * (1 - sigmoid(z)) },
  tanh: { layer: nn.tanh, a: Math.tanh, da: (z) => 1 - Math.tanh(z) ** 2 },
  ReLU: { layer: nn.relu, a: (z) => Math.max(0, z), da: (z) => (z > 0 ? 1 : 0) },
  "leaky ReLU (0.01)": { layer: nn.leakyRelu, a: (z) => (z > 0 ? z : 0.01 * z), da: (z) => (z > 0 ? 1 : 0.01) },
  "GELU (x·Φ(x))": {
    layer: nn.gelu,
    a: (z) => z * phi(z),
    da: (z) => phi(z) + (z * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI),
  },
};

/** What the text's h = activation(Wx + b) comes to, layer upon layer. */
function forward(weights: ReadonlyMap<string, { values: Float32Array }>, x: Float32Array, depth: number): number[] {
  let h = Array.from(x);
  for (let layer = 0; layer <= depth; layer++) {
    const [w, b] = ["weight", "bias"].map((name) => weights.get(`${2 * layer}.${name}`)!.values);
    const z = Array.from(b!, (bias, unit) => h.reduce((sum, value, i) => sum + value * w![unit * h.length + i]!, bias));
    h = layer === depth ? z : z.map(Math.tanh);
  }
  return h;
}

/** Samples of each engine, by the coordinator's record. */
async function enginesOf(session: LocalSession): Promise<string[]> {
  const { steps } = await session.metrics();
  return [...new Set(steps.flatMap(({ engines }) => Object.keys(engines)))];
}

const wave = (samples: number, inputs: number): Float32Array =>
  Float32Array.from({ length: samples * inputs }, (_, i) => Math.sin(i * i + 1));

describe.concurrent("the canon", () => {
  // test/e2e/examples.test.ts
  it("the perceptron: activation(Σ wᵢxᵢ + b)", async () => {
    const and = { x: Float32Array.of(0, 0, 0, 1, 1, 0, 1, 1), y: Float32Array.of(0, 0, 0, 1), inputs: 2, outputs: 1 };
    const options = { loss: loss.bce(), optimizer: optim.sgd({ lr: 8 }), epochs: 60, microBatch: 4 };
    const session = await create(and, nn.sequential(nn.linear(2, 1), nn.sigmoid()), options);
    await session.train();
    const [[w1, w2], [b]] = [await values(session, "0.weight"), await values(session, "0.bias")];
    const outputs = await session.predict({ x: and.x });
    for (const [i, output] of outputs.entries()) {
      expect(output).toBeCloseTo(sigmoid(w1! * and.x[2 * i]! + w2! * and.x[2 * i + 1]! + b!), 5);
      expect(output > 0.5, `sample ${i}`).toBe(and.y[i] === 1);
    }
  });

  // test/shared/graph, test/client/op-cases.ts
  it("sigmoid, tanh, ReLU, leaky ReLU (0.01), GELU (x·Φ(x))", async () => {
    const x = Float32Array.of(-2.5, -1, -0.3, 0.4, 1.2, 3);
    const y = new Float32Array(x.length);
    const weights = new Map([
      ["0.weight", { shape: [1, 1], values: [1] }],
      ["0.bias", { shape: [1], values: [0] }],
    ]);
    const mean = (of: (z: number) => number): number => x.reduce((sum, z) => sum + of(z), 0) / x.length;
    await Promise.all(
      Object.entries(ACTIVATIONS).map(async ([name, { layer, a, da }]) => {
        const rows = { x, y, inputs: 1, outputs: 1 };
        const session = await create(rows, nn.sequential(nn.linear(1, 1), layer()), { weights });
        const outputs = await session.predict({ x });
        for (const [i, z] of x.entries()) expect(Math.abs(outputs[i]! - a(z)), `${name} of ${z}`).toBeLessThan(2e-6);
        // ∂/∂w and ∂/∂b of the mean of a(wx + b)², by one step of w ← w − ∂L/∂w.
        await session.train();
        expect((await values(session, "0.weight"))[0], name).toBeCloseTo(1 - mean((z) => 2 * a(z) * da(z) * z), 5);
        expect((await values(session, "0.bias"))[0], name).toBeCloseTo(-mean((z) => 2 * a(z) * da(z)), 5);
      }),
    );
    // The tanh shortcut, which GELU must not be, is told apart by the same figures.
    const shortcut = (z: number): number => 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)));
    expect(Math.abs(shortcut(-2.5) - ACTIVATIONS["GELU (x·Φ(x))"]!.a(-2.5))).toBeGreaterThan(1e-4);
  });

  // test/shared/graph/gradients.test.ts
  it("multi-layer networks: width, depth, h = activation(Wx + b)", async () => {
    const shapes = [
      { width: 1, depth: 1 },
      { width: 300, depth: 1 },
      { width: 3, depth: 20 },
      { width: 17, depth: 5 },
    ];
    const rows = { x: wave(8, 3), y: wave(8, 2), inputs: 3, outputs: 2 };
    await Promise.all(
      shapes.map(async ({ width, depth }) => {
        const hidden = Array.from({ length: depth }, (_, layer) => [
          nn.linear(layer === 0 ? 3 : width, width),
          nn.tanh(),
        ]);
        const model = nn.sequential(...hidden.flat(), nn.linear(width, 2));
        const session = await create(rows, model, { optimizer: optim.sgd({ lr: 0.1 }), epochs: 2 });
        await session.train();
        const weights = await session.weights();
        const outputs = await session.predict({ x: rows.x });
        for (let sample = 0; sample < 8; sample++) {
          const expected = forward(weights, rows.x.subarray(3 * sample, 3 * sample + 3), depth);
          for (const [i, value] of expected.entries()) expect(outputs[2 * sample + i]).toBeCloseTo(value, 5);
        }
      }),
    );
  });

  // npm run example universal-approximation
  it("universal approximation with one hidden layer", async () => {
    const { fits } = await universalApproximation({ widths: [1, 8, 64], steps: 30 });
    const [narrow, wide, widest] = fits.map(({ error }) => error);
    expect(wide).toBeLessThan(narrow! / 2);
    expect(widest).toBeLessThan(wide! / 2);
  });

  // test/shared/graph/gradients.test.ts, test/parity/parity.test.ts
  it("backpropagation: forward, loss, ∂L/∂w by the chain rule, w ← w − α ∂L/∂w", async () => {
    const [samples, alpha] = [8, 0.25];
    const rows = { x: wave(samples, 3), y: wave(samples, 1), inputs: 3, outputs: 1 };
    const model = nn.sequential(nn.linear(3, 5), nn.tanh(), nn.linear(5, 4), nn.gelu(), nn.linear(4, 1));
    const session = await create(rows, model, { optimizer: optim.sgd({ lr: alpha }), microBatch: 4 });
    const { graph } = session.definition;
    const flat = async (): Promise<Float64Array> => {
      const all = new Float64Array(parameterLength(graph));
      for (const { name, offset } of graph.parameters) all.set(await values(session, name), offset);
      return all;
    };
    const before = await flat();
    await session.train({ clients: 2 });
    const moved = (await flat()).map((value, i) => (before[i]! - value) / alpha);
    const inputs = { x: rows.x, y: rows.y, weight: new Float32Array(samples).fill(1) };
    // The graph's loss is a sum over the samples; a step is of their mean.
    const expected = numericGradient(graph, { microBatch: samples, inputs, weights: before }).map((g) => g / samples);
    expect(relativeError(moved, expected)).toBeLessThan(1e-5);
  });

  // test/parity/parity.test.ts; examples/neural-net.ts is the program
  it("the PyTorch program: Sequential(Linear 10→64, ReLU, 64→32, ReLU, 32→1, Sigmoid), BCELoss, Adam(lr=0.001), 100 epochs, a loss line every 10", async () => {
    const fixture = readFileSync(join(packageRoot, "test/fixtures/seed-program.json"), "utf8");
    const { losses } = JSON.parse(fixture) as { losses: number[] };
    const session = await create(
      { ...seedData(), inputs: 10, outputs: 1 },
      nn.sequential(nn.linear(10, 64), nn.relu(), nn.linear(64, 32), nn.relu(), nn.linear(32, 1), nn.sigmoid()),
      { loss: loss.bce(), optimizer: optim.adam({ lr: 0.001 }), epochs: 100 },
    );
    await session.train({ clients: 2 });
    const { steps } = await session.metrics();
    expect(steps).toHaveLength(losses.length);
    const worst = Math.max(...steps.map(({ loss }, i) => Math.abs(loss! - losses[i]!) / losses[i]!));
    // And the example is that program.
    expect(neuralNet.graph).toEqual(session.definition.graph);
    expect(neuralNet.optimizer).toEqual(session.definition.optimizer);
    expect(neuralNet.epochs).toBe(100);
    const lines = vi.spyOn(console, "log").mockImplementation(() => {});
    for (const [epoch, loss] of losses.entries()) onEpoch({ epoch, loss });
    const printed = lines.mock.calls.map(([line]) => line);
    lines.mockRestore();
    expect(printed).toEqual(
      [0, 10, 20, 30, 40, 50, 60, 70, 80, 90].map((i) => `Epoch ${i}: Loss=${losses[i]!.toFixed(4)}`),
    );
    console.log(`the program: largest relative difference from PyTorch's losses ${worst.toExponential(1)}`);
    expect(worst).toBeLessThan(1e-5);
  });

  // test/shared/session/schedule.test.ts, test/e2e/lr-find.test.ts
  it("the learning rate is the most important hyperparameter", async () => {
    const rows = { x: wave(16, 2), y: wave(16, 1), inputs: 2, outputs: 1 };
    const session = await create(rows, nn.linear(2, 1), {
      optimizer: optim.sgd({ lr: 0.1 }),
      schedule: schedule.warmup(4, schedule.cosine()),
      epochs: 12,
    });
    await session.train();
    const rates = (await session.metrics()).steps.map(({ lr }) => lr!);
    // From 0 up over four steps, then half a cosine down over the eight that remain.
    const expected = rates.map((_, step) =>
      step < 4 ? (0.1 * step) / 4 : 0.05 * (1 + Math.cos((Math.PI * (step - 4)) / 8)),
    );
    for (const [step, rate] of rates.entries()) expect(rate, `step ${step}`).toBeCloseTo(expected[step]!, 7);

    const bin = join(packageRoot, "bin/commonweight.js");
    const options = ["--node", "--volunteers", "1", "--engine", "wasm", "--steps", "20", "--from", "1e-4", "--to", "1"];
    const command = [bin, "lr-find", join(packageRoot, "examples/iris.ts"), "--port", "0", "--json", ...options];
    const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: folder });
    const { suggested } = JSON.parse(stdout.trim().split("\n").at(-1)!) as { suggested: number };
    expect(suggested).toBeGreaterThan(1e-4);
    expect(suggested).toBeLessThan(1);
    expect(readFileSync(join(folder, "lr-find.svg"), "utf8")).toMatch(/^<svg /);
  });

  // test/shared/session/early-stopping.test.ts, test/workers/early-stopping.test.ts, test/coordinator/optim
  it("overfitting is controlled by dropout, regularisation, early stopping", async () => {
    // Targets that have nothing to do with the inputs: whatever is learnt of them is learnt by heart.
    const y = Float32Array.from({ length: 64 }, (_, i) => (((i * 7_919) % 101) % 2 === 0 ? 1 : -1));
    const rows = { x: wave(64, 4), y, inputs: 4, outputs: 1, heldOut: 32 };
    const train = async (clients: number, options: Partial<SessionOptions>) => {
      const model = nn.sequential(nn.linear(4, 32), nn.tanh(), nn.dropout(0.5), nn.linear(32, 1));
      const session = await create(rows, model, {
        optimizer: optim.adamW({ lr: 0.03, weightDecay: 0.1, l1: 1e-3 }),
        microBatch: 8,
        epochs: 60,
        earlyStopping: { patience: 3 },
        ...options,
      });
      return session.train({ clients });
    };
    const [one, three, careless] = [
      await train(1, {}),
      await train(3, {}),
      await train(1, { optimizer: optim.adamW({ lr: 0.03, weightDecay: 0 }) }),
    ];
    expect(one.steps).toBeLessThan(60);
    expect(three).toEqual(one);
    expect(careless.weightsHash).not.toBe(one.weightsHash);
  });

  // test/parity/mixed.test.ts, test/e2e/browser.test.ts
  it("GPU acceleration is essential", async () => {
    const rows = { x: wave(64, 4), y: wave(64, 1), inputs: 4, outputs: 1 };
    const model = (): Module => nn.sequential(nn.linear(4, 16), nn.relu(), nn.linear(16, 1));
    const executable = requireBrowser();
    const onGpu = async (): Promise<string[]> => {
      const session = await create(rows, model(), { epochs: 3, optimizer: optim.sgd({ lr: 0.01 }) });
      const tabs = await startTabs(executable, { url: session.url, engines: ["webgpu"], say: () => {} });
      await session.finished().finally(() => tabs.stop());
      return enginesOf(session);
    };
    const withoutGpu = async (): Promise<string[]> => {
      const session = await create(rows, model(), { epochs: 3, optimizer: optim.sgd({ lr: 0.02 }) });
      const flags = BROWSER_FLAGS.filter((flag) => flag !== "--enable-unsafe-webgpu");
      const browser = await Chromium.launch({ executable, flags: [...flags, "--disable-features=WebGPU"] });
      try {
        const tab = await (await browser.createProfile()).open(`${session.url}?engine=auto&share=100`);
        await tab.click(JOIN, 60_000);
        await session.finished();
        expect(await tab.evaluate("navigator.gpu ? navigator.gpu.requestAdapter() : null")).toBe(null);
      } finally {
        await browser.stop();
      }
      return enginesOf(session);
    };
    expect(await Promise.all([onGpu(), withoutGpu()])).toEqual([["webgpu"], ["wasm"]]);
  });
});
