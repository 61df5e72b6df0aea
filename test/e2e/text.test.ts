/** A small model of language, trained by real volunteers on windows of a real text: Moby-Dick, character by character. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SessionMetrics } from "../../cli/api.ts";
import { BROWSER_FLAGS } from "../../cli/browser.ts";
import { cutDataset, type DatasetContent, readSource } from "../../cli/dataset.ts";
import { Chromium } from "../../cli/devtools.ts";
import { openVocabulary } from "../../cli/tokenizer.ts";
import { dataset, defineSession, loss, nn, optim } from "../../shared/nn/index.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { parseManifest } from "../../shared/session/manifest.ts";
import { planRun } from "../../shared/session/plan.ts";
import { vocabularySize } from "../../shared/session/vocabulary.ts";
import { startTestCoordinator, type TestCoordinator, untilDone } from "./coordinator.ts";
import { type FleetMember, JOIN, nodeFleet, requireBrowser } from "./fleets.ts";

const MOBY = new URL("../../examples/data/moby-dick.txt", import.meta.url);
const TOKENIZER = new URL("../../examples/data/moby-dick.tokenizer.json", import.meta.url);
const LENGTH = 16;
const STEPS = 20;

/** A transformer with causal attention, learned positions and an embedding that is also the last layer. */
function language(name: string, size: number, steps: number): SessionDefinition {
  const tokens = nn.embedding(size, 16, { std: 0.2 });
  return defineSession({
    title: "Moby-Dick",
    model: nn.sequential(
      tokens,
      nn.learnedPositions(LENGTH, 16),
      nn.dropout(0.1),
      nn.transformerBlock(16, 2, {
        dimFeedforward: 32,
        dropout: 0.1,
        activation: "gelu",
        causal: true,
        normFirst: true,
      }),
      nn.layerNorm(16),
      nn.linear(16, size, { bias: false, weightOf: tokens }),
    ),
    input: { x: { dtype: "int32", shape: [LENGTH] } },
    loss: loss.crossEntropy({ classAxis: -1, metrics: ["perplexity"] }),
    optimizer: optim.adam({ lr: 1e-2 }),
    data: dataset(name, {
      x: "tokens",
      y: { column: "tokens", shift: 1 },
      window: { length: LENGTH, stride: 8 },
      train: [0, 100_000],
      validation: [100_000, 101_000],
      test: [101_000, 102_000],
    }),
    batchSize: 32,
    microBatch: 8,
    epochs: 1,
    maxSteps: steps,
    seed: 7,
  });
}

describe("a model of language", () => {
  let coordinator: TestCoordinator;
  let content: DatasetContent;

  async function push(name: string, pushed: DatasetContent): Promise<void> {
    const { manifest, chunks } = cutDataset(name, pushed);
    await coordinator.api.pushDataset(manifest, chunks, () => {});
  }

  beforeAll(async () => {
    coordinator = await startTestCoordinator();
    content = readSource("moby-dick", { text: { file: MOBY, vocabulary: "characters" } });
    await push("moby-dick", content);
  });
  afterAll(() => coordinator?.stop());

  async function create(definition: SessionDefinition): Promise<{ id: string; link: string }> {
    const { id } = await coordinator.api.createSession(definition);
    return { id, link: `${coordinator.url}/s/${id}` };
  }

  async function train(definition: SessionDefinition, volunteers: number): Promise<SessionMetrics> {
    const { id, link } = await create(definition);
    const names = Array.from({ length: volunteers }, (_, index) => `volunteer ${index + 1}`);
    const members = await Promise.all(names.map((name) => nodeFleet.start(link, name)));
    const metrics = await untilDone(coordinator.api, id);
    await Promise.all(members.map((member) => member.kill()));
    return metrics;
  }

  it("learns from windows of characters, and has the same weights from one volunteer and from three (I1)", async () => {
    const definition = language("moby-dick", vocabularySize(content.vocabulary!), STEPS);
    const one = await train(definition, 1);
    const losses = one.steps.map((step) => step.loss!);
    expect(losses).toHaveLength(STEPS);
    expect(one.steps.map(({ samples }) => samples)).toEqual(new Array(STEPS).fill(32));
    // Before anything is learned each of 83 characters is about as likely as any other.
    expect(losses[0]).toBeGreaterThan(Math.log(83) - 0.5);
    expect(losses[0]).toBeLessThan(Math.log(83) + 1.5);
    expect(losses.at(-1)).toBeLessThan(losses[0]! - 0.8);
    const { testSamples, validationSamples } = planRun(definition);
    expect([validationSamples, testSamples]).toEqual([123, 123]);
    const test = one.evaluations.find(({ work }) => work === "test")!;
    expect(test.metrics.perplexity).toBeCloseTo(Math.exp(test.loss!), 4);
    expect(one.result?.weightsHash).toMatch(/^[0-9a-f]{64}$/);
    const three = await train(definition, 3);
    expect(three.result?.weightsHash).toBe(one.result?.weightsHash);
  });

  it("learns on WebGPU and WASM in the same session", async () => {
    const { id, link } = await create(language("moby-dick", vocabularySize(content.vocabulary!), 2 * STEPS));
    const progress = async () => (await coordinator.api.readSession(id)).progress;
    const browser = await Chromium.launch({ executable: requireBrowser(), flags: BROWSER_FLAGS });
    const members: FleetMember[] = [];
    try {
      const tab = await (await browser.createProfile()).open(`${link}?engine=webgpu&share=100`);
      await tab.click(JOIN, 60_000);
      // The slower one first: alone, the other would be done before it is there.
      await expect.poll(async () => (await progress()).step, { timeout: 60_000 }).toBeGreaterThan(0);
      await coordinator.api.control(id, "pause");
      members.push(await nodeFleet.start(link, "wasm"));
      await expect.poll(async () => (await progress()).clientCount, { timeout: 60_000 }).toBe(2);
      await coordinator.api.control(id, "resume");
      const { steps, result } = await untilDone(coordinator.api, id);
      expect(result?.members.map(({ engine }) => engine).sort()).toEqual(["wasm", "webgpu"]);
      expect(steps.at(-1)!.loss).toBeLessThan(steps[0]!.loss! - 0.8);
    } finally {
      await Promise.all(members.map((member) => member.kill()));
      await browser.stop();
    }
  });

  it("learns from the tokens of a tokenizer, which whoever has the session can turn back into text", async () => {
    const vocabulary = { tokenizer: TOKENIZER };
    const tokens = readSource("moby-bpe", { text: { file: MOBY, vocabulary } });
    await push("moby-bpe", tokens);
    const definition = language("moby-bpe", vocabularySize(tokens.vocabulary!), 5);
    const { id, link } = await create(definition);
    const member = await nodeFleet.start(link, "only");
    const { steps } = await untilDone(coordinator.api, id);
    await member.kill();
    expect(steps).toHaveLength(5);
    expect(steps[4]!.loss).toBeLessThan(steps[0]!.loss!);
    const manifest = parseManifest((await coordinator.api.readSession(id)).manifest);
    const codec = await openVocabulary(manifest.vocabulary!, (hash) => coordinator.api.readBlob(id, hash));
    const first = new Int32Array(tokens.rows[0].buffer).subarray(0, 50);
    expect(codec.decode([...first])).toMatch(
      /^CHAPTER 1\. Loomings\.\n\nCall me Ishmael\. Some years ago—never mind how long/,
    );
  });

  it("tells padded texts of unequal length apart", async () => {
    const file = join(coordinator.folder, "mail.jsonl");
    const lines = Array.from({ length: 120 }, (_, n) => [
      { text: `see you at ${n}`, label: "ham" },
      { text: `WIN ${n} DOLLARS${"!".repeat(n % 9)}`, label: "spam" },
    ]);
    writeFileSync(
      file,
      lines
        .flat()
        .map((line) => JSON.stringify(line))
        .join("\n"),
    );
    const source = { file, length: 24, split: { train: 0.8, test: 0.2 } };
    await push("mail", readSource("mail", { labelledText: source }));
    const tokens = { dtype: "int32", shape: [24] } as const;
    const definition = defineSession({
      title: "Mail",
      model: nn.sequential(
        nn.embedding(256, 8),
        nn.transformerBlock(8, 2, { dimFeedforward: 16, dropout: 0, paddingMask: "padding" }),
        nn.meanOverTokens({ paddingMask: "padding" }),
        nn.linear(8, 2),
      ),
      input: { tokens, padding: tokens },
      loss: loss.crossEntropy(),
      optimizer: optim.adam({ lr: 0.02 }),
      data: dataset("mail", {
        inputs: { tokens: "tokens", padding: "padding" },
        y: "label",
        train: [0, 192],
        test: [192, 240],
      }),
      batchSize: 32,
      microBatch: 8,
      epochs: 5,
    });
    const { evaluations } = await train(definition, 1);
    expect(evaluations.find(({ work }) => work === "test")!.metrics.correct).toBe(1);
  });
});
