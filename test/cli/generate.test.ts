import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../cli/root.ts";
import { encodeSafetensors } from "../../cli/safetensors.ts";
import { loadSessionFile } from "../../cli/session-file.ts";
import { type Graph, inferenceGraph, initialize, runReference } from "../../shared/graph/index.ts";

const TEXT = "abra cadabra,\nthe whale! ünd 🐋";
const CHARACTERS = [...new Set(TEXT)].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
const WINDOW = 8;

const folder = mkdtempSync(join(tmpdir(), "commonweight-generate-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs the real command in the folder. */
async function generate(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const bin = join(packageRoot, "bin/commonweight.js");
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [bin, "generate", ...args], { cwd: folder });
    return { code: 0, stdout, stderr };
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string };
  }
}

interface Variation {
  readonly model?: string;
  readonly datasets?: string;
}

const GPT = `nn.sequential(
    nn.embedding(${CHARACTERS.length}, 8),
    nn.learnedPositions(${WINDOW}, 8, { std: 1 }),
    nn.transformerBlock(8, 2, { dimFeedforward: 16, dropout: 0.1, normFirst: true, causal: true }),
    nn.linear(8, ${CHARACTERS.length}),
  )`;

const WHALE = `{ whale: { text: { file: "whale.txt", vocabulary: "characters" } } }`;

let wrong = 0;

/** A session file and, beside it, weights of its own. */
async function write(name: string, { model = GPT, datasets = WHALE }: Variation = {}): Promise<[Graph, Float32Array]> {
  writeFileSync(
    join(folder, `${name}.ts`),
    `import { dataset, defineSession, loss, nn, optim } from "commonweight/nn";
export default defineSession({
  title: "Whale",
  model: ${model},
  input: { x: { dtype: "int32", shape: [${WINDOW}] } },
  loss: loss.crossEntropy({ classAxis: -1 }),
  optimizer: optim.adam(),
  data: dataset("whale", { x: "tokens", y: { column: "tokens", shift: 1 }, window: ${WINDOW}, train: [0, 30] }),
  batchSize: 2,
  epochs: 1,
});
export const datasets = ${datasets};
`,
  );
  const { graph } = (await loadSessionFile(join(folder, `${name}.ts`))).definition;
  const weights = initialize(graph, 5);
  writeFileSync(join(folder, `${name}.safetensors`), encodeSafetensors(graph, weights, {}));
  return [graph, weights];
}

writeFileSync(join(folder, "whale.txt"), TEXT);
const [graph, weights] = await write("whale");

/** What the oracle in float64 writes after `prompt`, always taking the likeliest character. */
function likeliest(prompt: string, length: number): string {
  const history = [...prompt].map((character) => CHARACTERS.indexOf(character));
  const evaluation = inferenceGraph(graph); // without dropout
  for (let count = 0; count < length; count++) {
    const seen = history.slice(-WINDOW);
    const x = [...seen, ...Array.from({ length: WINDOW - seen.length }, () => 3)];
    const logits = runReference(evaluation, 1, { x }, weights)[evaluation.outputs.prediction]!;
    const after = Array.from(logits.slice((seen.length - 1) * CHARACTERS.length, seen.length * CHARACTERS.length));
    history.push(after.indexOf(Math.max(...after)));
  }
  return history.map((token) => CHARACTERS[token]).join("");
}

describe("commonweight generate", () => {
  it("writes what the float64 reference writes, from a session file and its weights, past the window", async () => {
    const { code, stdout, stderr } = await generate(
      ...["whale.ts", "--weights", "whale.safetensors", "--prompt", "the", "--length", "20", "--temperature", "0"],
    );
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toBe(`${likeliest("the", 20)}\n`);
    expect(new Set(stdout.slice(3)).size).toBeGreaterThan(2);
  });

  it("writes the same for the same seed, something else for another one, and only the likeliest with --top-k 1", async () => {
    const write = async (...more: string[]): Promise<string> => {
      const { stdout } = await generate(
        ...["whale.ts", "--weights", "whale.safetensors", "--prompt", "ab", "--length", "24", ...more],
      );
      return stdout;
    };
    const [first, again, other, top] = [
      await write("--seed", "1"),
      await write("--seed", "1"),
      await write("--seed", "2"),
      await write("--top-k", "1"),
    ];
    expect(first).toMatch(/^ab/);
    expect([...first.slice(0, -1)]).toHaveLength(26);
    expect(again).toBe(first);
    expect(other).not.toBe(first);
    expect(top).toBe(`${likeliest("ab", 24)}\n`);
  });

  it.each<[string, Variation, string[], string]>([
    [
      "a character of the prompt that there is not, and which there are",
      {},
      ["--prompt", "the whales"],
      `the prompt: character 9 is "s" (U+0073), which is none of the vocabulary's 17; it knows "`,
    ],
    ["an empty prompt", {}, ["--prompt", ""], "Whale: the prompt is empty: give at least one token"],
    ["weights that are not there", {}, ["--prompt", "a", "--weights", "no.safetensors"], "there are no weights no.saf"],
    [
      "weights of another model",
      { model: GPT.replaceAll("dimFeedforward: 16", "dimFeedforward: 24") },
      ["--prompt", "a", "--weights", "whale.safetensors"],
      "whale.safetensors is of another model: weights: 2.linear1.weight is [16, 8]",
    ],
    [
      "data that are no text",
      { datasets: "{ whale: { columns: { tokens: { values: new Uint8Array(40), shape: [] } } } }" },
      ["--prompt", "a"],
      "Whale has no vocabulary",
    ],
    ["data that are elsewhere", { datasets: "{}" }, ["--prompt", "a"], "brings no data set whale along"],
    [
      "fewer outputs than characters",
      { model: GPT.replaceAll("17", "16") },
      ["--prompt", "a"],
      "Whale: its text has 17 tokens, the model predicts 16",
    ],
    [
      "a model that gives one answer a sample",
      { model: "nn.sequential(nn.embedding(17, 2), nn.flatten(), nn.linear(16, 17))" },
      ["--prompt", "a"],
      "Whale: this is no language model: expected logits [N, 8, vocabulary], it predicts [N, 17]",
    ],
    [
      "a model that sees later tokens",
      { model: GPT.replace("causal: true", "causal: false") },
      ["--prompt", "a"],
      "build its attention with causal: true",
    ],
  ])("says what is wrong in one line: %s", async (_, variation, args, message) => {
    const name = `wrong-${wrong++}`;
    await write(name, variation);
    const { code, stdout, stderr } = await generate(`${name}.ts`, "--weights", `${name}.safetensors`, ...args);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(`${message}`);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  it("asks for a prompt, and refuses figures out of range", async () => {
    expect((await generate("whale.ts")).stderr).toContain("required option '--prompt <text>'");
    for (const [option, value] of [
      ["--temperature", "-1"],
      ["--temperature", "hot"],
      ["--top-k", "0"],
      ["--length", "1.5"],
      ["--seed", "-1"],
    ] as const) {
      expect((await generate("whale.ts", "--prompt", "a", option, value)).stderr).toContain(option);
    }
  });
});
