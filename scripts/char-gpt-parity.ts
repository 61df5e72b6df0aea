/**
 * `npm run char-gpt -- [--steps 500] [--volunteers 2] [--python python3]`: trains examples/char-gpt.ts as anybody would, by volunteers in Node,
 * and the same model in PyTorch from the same first weights, on the same windows of the text in the same order, by the same optimizer
 * and schedule. Prints both losses on held-out text, how far they are apart, and what a table of pairs of characters comes to;
 * ends with 1 unless they agree within 1 % and are below the table's.
 */

import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { readSource } from "../cli/dataset.ts";
import { packageRoot } from "../cli/root.ts";
import { loadSessionFile } from "../cli/session-file.ts";
import { override } from "../cli/train.ts";
import { initialize } from "../shared/graph/index.ts";
import { sampleIndex } from "../shared/random/index.ts";
import type { HostedData, SessionDefinition } from "../shared/session/definition.ts";
import { epochOf, planRun, workSamples } from "../shared/session/plan.ts";
import { samplesIn, windowOf } from "../shared/session/window.ts";

const AGREEMENT = 0.01;
const SHOWN_EVERY = 50;

const { values: options } = parseArgs({
  options: {
    steps: { type: "string", default: "500" },
    volunteers: { type: "string", default: "2" },
    python: { type: "string", default: "python3" },
  },
});
const steps = Number(options.steps);
const folder = resolve("build/char-gpt");
const example = join(packageRoot, "examples/char-gpt.ts");

/** What one side came to. */
interface Outcome {
  /** By step. */
  readonly losses: number[];
  validation: number;
  test: number;
}

/** Lines of JSON on standard output, one object each. Rejects if the command fails. */
async function* objectsOf(command: string, args: readonly string[]): AsyncGenerator<Record<string, unknown>> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<number | null>((done, fail) => child.once("error", fail).once("close", done));
  for await (const line of createInterface({ input: child.stdout })) yield JSON.parse(line) as Record<string, unknown>;
  const code = await ended;
  if (code !== 0) throw new Error(`${command} ${args[0]} ended with ${code}`);
}

async function trainHere(): Promise<Outcome> {
  const outcome: Outcome = { losses: [], validation: Number.NaN, test: Number.NaN };
  const command = ["train", example, "--fresh", "--json", "--node", "--engine", "wasm"];
  const files = ["--data", join(folder, "state"), "--out", join(folder, "model.safetensors")];
  const figures = ["--steps", options.steps, "--volunteers", options.volunteers];
  const bin = join(packageRoot, "bin/commonweight.js");
  for await (const told of objectsOf(process.execPath, [bin, ...command, ...files, ...figures])) {
    if (told.type === "step") outcome.losses.push(Number(told.loss));
    const { validation } = told as { readonly validation?: { readonly loss: number } | null };
    if (told.type === "epoch" && validation) outcome.validation = validation.loss;
    if (told.type === "finished") outcome.test = Number(told.testLoss);
  }
  return outcome;
}

async function trainInPyTorch(): Promise<Outcome> {
  const outcome: Outcome = { losses: [], validation: Number.NaN, test: Number.NaN };
  const script = join(packageRoot, "test/fixtures/char-gpt.py");
  for await (const told of objectsOf(options.python, [script, "train", folder])) {
    if ("loss" in told) outcome.losses.push(Number(told.loss));
    else Object.assign(outcome, told);
    if (outcome.losses.length % SHOWN_EVERY === 0) {
      console.error(`PyTorch: step ${outcome.losses.length}/${steps} · loss ${outcome.losses.at(-1)?.toFixed(4)}`);
    }
  }
  return outcome;
}

/** First token of every sample, in the order of the steps. */
function startsOf(definition: SessionDefinition, data: HostedData): Uint32Array<ArrayBuffer> {
  const plan = planRun(definition);
  const { stride } = windowOf(data);
  const starts: number[] = [];
  for (let step = 0; step < plan.totalSteps; step++) {
    const { from, to } = workSamples(plan, "train", step);
    for (let position = from; position < to; position++) {
      const sample = sampleIndex(definition.seed, epochOf(plan, step), plan.trainSamples, position);
      starts.push(data.train[0] + sample * stride);
    }
  }
  return Uint32Array.from(starts);
}

/** The mean loss on held-out windows of P(next | character), counted in the training text with one added everywhere. */
function pairsLoss(tokens: Uint8Array, data: HostedData, held: readonly [number, number], size: number): number {
  const counts = new Float64Array(size * size).fill(1);
  const totals = new Float64Array(size).fill(size);
  for (let at = data.train[0]; at + 1 < data.train[1]; at++) {
    counts[tokens[at] * size + tokens[at + 1]] += 1;
    totals[tokens[at]] += 1;
  }
  const predicted = samplesIn(data, held) * windowOf(data).length;
  let sum = 0;
  for (let at = held[0]; at < held[0] + predicted; at++) {
    sum -= Math.log(counts[tokens[at] * size + tokens[at + 1]] / totals[tokens[at]]);
  }
  return sum / predicted;
}

const file = await loadSessionFile(example);
const definition = override(file.definition, { steps });
const { data, graph, seed, schedule, clipping, batchSize, optimizer } = definition;
const source = data.source === "dataset" ? file.datasets[data.dataset] : undefined;
const rule = schedule?.rule;
if (data.source !== "dataset" || source === undefined || rule?.kind !== "sequential") {
  throw new Error("examples/char-gpt.ts has changed: expected a text that it brings along, warm-up and a cosine");
}
const [rise, fall] = rule.rules;
if (
  rise.kind !== "linear" ||
  fall?.kind !== "cosine" ||
  fall.etaMin !== 0 ||
  batchSize * steps > planRun(definition).trainSamples
) {
  throw new Error("examples/char-gpt.ts has changed: expected a linear warm-up and a cosine to 0 within one epoch");
}
const tokens = readSource(data.dataset, source, file.folder).rows[0];
const given = {
  parameters: graph.parameters,
  context: windowOf(data).length,
  batch: batchSize,
  optimizer,
  warmup: rule.milestones[0],
  startFactor: rise.startFactor,
  clipNorm: clipping?.norm,
  validation: data.validation,
  test: data.test,
};
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, "weights.f32"), new Uint8Array(initialize(graph, seed).buffer));
writeFileSync(join(folder, "tokens.u8"), tokens);
writeFileSync(join(folder, "starts.u32"), new Uint8Array(startsOf(definition, data).buffer));
writeFileSync(join(folder, "given.json"), JSON.stringify(given));

const began = performance.now();
const here = await trainHere();
const minutes = (performance.now() - began) / 60_000;
const there = await trainInPyTorch();

const apart = (a: number, b: number): number => Math.abs(a - b) / b;
const worst = Math.max(...here.losses.map((loss, step) => apart(loss, there.losses[step])));
console.log(`${steps} steps by ${options.volunteers} volunteers: ${minutes.toFixed(1)} minutes`);
console.log(`training losses: ${(worst * 100).toExponential(1)} % apart at most`);
let agrees = here.losses.length === steps && there.losses.length === steps;
for (const split of ["validation", "test"] as const) {
  const pairs = pairsLoss(tokens, data, data[split], 83);
  const difference = apart(here[split], there[split]);
  agrees &&= difference <= AGREEMENT && here[split] < pairs;
  console.log(
    `${split}: here ${here[split].toFixed(5)}, PyTorch ${there[split].toFixed(5)}, ` +
      `${(difference * 100).toFixed(3)} % apart; table of pairs ${pairs.toFixed(5)}`,
  );
}
process.exit(agrees ? 0 : 1);
