/** The character-level GPT of examples/char-gpt.ts against PyTorch in float64 (test/fixtures/char-gpt.py), at its whole size. */

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { MicroBatch } from "../../client/engine/engine.ts";
import { createWasmEngine } from "../../client/engine/node/engine.ts";
import { announce, BLOCK, createEnvelope, magnitudeBits } from "../../shared/codec/index.ts";
import { differentiate, initialize, sizeOf } from "../../shared/graph/index.ts";
import { BATCH, CONTEXT, charGpt, OPTIMIZER, readTokens, STEPS, windowStart } from "../fixtures/char-gpt.ts";
import { relativeError } from "../shared/graph/finite-differences.ts";
import { trainInProcess } from "./in-process.ts";

const fixture = JSON.parse(readFileSync(new URL("../fixtures/char-gpt.json", import.meta.url), "utf8")) as {
  readonly losses: readonly number[];
  readonly gradients: Readonly<Record<string, { readonly length: number; readonly values: readonly number[] }>>;
};

const { graph, seed } = charGpt;
const tokens = readTokens();
const weight = new Float32Array(BATCH).fill(1);

/** The step's eight windows, and the characters after theirs. */
function windowsOf(step: number): MicroBatch {
  const rows = (shift: number): Int32Array =>
    Int32Array.from({ length: BATCH * CONTEXT }, (_, at) => {
      const start = windowStart(step, Math.floor(at / CONTEXT));
      return tokens[start + shift + (at % CONTEXT)];
    });
  return { inputs: { x: rows(0), y: rows(1), weight }, position: 0 };
}

it("the GPT has PyTorch's gradient in every parameter, within 1e-5", async () => {
  const bits = magnitudeBits("fixed32", 1);
  const engine = await createWasmEngine({ graph: differentiate(graph, BATCH), microBatch: BATCH, seed }, 1);
  await engine.setWeights(initialize(graph, seed));
  const run = async (work: "calibrate" | "gradient", exponents: Uint8Array) => {
    engine.begin({ work, step: 0, microBatches: 1, magnitudeBits: work === "gradient" ? bits : 0, exponents });
    await engine.accumulate(windowsOf(0));
    return engine.take();
  };
  const announced = announce(createEnvelope((await run("calibrate", new Uint8Array(0))).maxima));
  const { sums } = await run("gradient", announced);
  await engine.dispose();
  const gradient = Float64Array.from(
    sums,
    (sum, at) => (sum * 2 ** (announced[Math.floor(at / BLOCK)] - 126 - bits)) / (BATCH * CONTEXT),
  );
  const names = graph.parameters.map(({ name }) => name);
  expect(names.toSorted()).toEqual(Object.keys(fixture.gradients).toSorted());
  let worst = 0;
  for (const { name, shape, offset } of graph.parameters) {
    const { length, values } = fixture.gradients[name]!;
    const part = gradient.subarray(offset, offset + sizeOf(shape));
    const sampled = values.map((_, at) => part[Math.floor((at * part.length) / values.length)]!);
    const error = Math.max(relativeError(sampled, values), Math.abs(Math.hypot(...part) / length - 1));
    expect(error, name).toBeLessThan(1e-5);
    worst = Math.max(worst, error);
  }
  console.log(`char-GPT: gradients differ by ${worst.toExponential(2)} at most`);
});

it("the GPT has PyTorch's loss in each of 20 steps of AdamW, within 1e-5", async () => {
  const actual = await trainInProcess({
    graph,
    optimizer: OPTIMIZER,
    plan: {
      trainSamples: STEPS * BATCH,
      validationSamples: 0,
      testSamples: 0,
      batchSize: BATCH,
      microBatch: BATCH,
      stepsPerEpoch: STEPS,
      totalSteps: STEPS,
    },
    microBatch: windowsOf,
  });
  expect(actual).toHaveLength(STEPS);
  const worst = Math.max(...fixture.losses.map((loss, step) => Math.abs(actual[step]! / loss - 1)));
  console.log(
    `char-GPT: losses ${actual[0]!.toFixed(4)} to ${actual[STEPS - 1]!.toFixed(4)} differ by ${worst.toExponential(2)} at most`,
  );
  expect(worst).toBeLessThan(1e-5);
});
