/** A language model from a text file to its own text, by the commands alone. */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { packageRoot } from "../../cli/root.ts";

const bin = join(packageRoot, "bin/commonweight.js");
const folder = mkdtempSync(join(tmpdir(), "commonweight-text-"));
let dev: ChildProcess;
let server: string;

/** Rejects with what it printed if the command fails. */
async function run(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [bin, ...args], { cwd: folder });
  return stdout;
}

const SESSION = `import { dataset, defineSession, loss, nn, optim } from "commonweight/nn";
const tokens = nn.embedding(12, 16, { std: 0.3 });
export default defineSession({
  title: "Whales, whales",
  model: nn.sequential(
    tokens,
    nn.learnedPositions(8, 16),
    nn.transformerBlock(16, 2, { dimFeedforward: 32, dropout: 0, normFirst: true, causal: true }),
    nn.layerNorm(16),
    nn.linear(16, 12, { bias: false, weightOf: tokens }),
  ),
  input: { x: { dtype: "int32", shape: [8] } },
  loss: loss.crossEntropy({ classAxis: -1 }),
  optimizer: optim.adam({ lr: 0.02 }),
  data: dataset("whales", {
    x: "tokens",
    y: { column: "tokens", shift: 1 },
    window: { length: 8, stride: 3 },
    train: [0, 400],
    validation: [400, 500],
  }),
  batchSize: 16,
  microBatch: 8,
  epochs: 12,
});
export const datasets = { whales: { text: { file: "whales.txt", vocabulary: "characters" } } };
export const generate = { prompt: "the w", length: 13, temperature: 0 };
`;

const TEXT = "the whale, a whale! ";

beforeAll(async () => {
  writeFileSync(join(folder, "whales.txt"), TEXT.repeat(25));
  writeFileSync(join(folder, "whales.ts"), SESSION);
  dev = spawn(process.execPath, [bin, "dev", "--port", "0"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  server = await new Promise((resolve, reject) => {
    let printed = "";
    dev.once("exit", () => reject(new Error(`dev ended: ${printed}`)));
    dev.stdout?.on("data", (text: Buffer) => {
      printed += text.toString();
      const address = /coordinator (http\S+)/.exec(printed)?.[1];
      if (address !== undefined) resolve(address);
    });
  });
});

afterAll(async () => {
  dev?.kill();
  await new Promise((resolve) => dev?.once("close", resolve) ?? resolve(null));
  rmSync(folder, { recursive: true, force: true });
});

it("trains on a text, writes what was asked for, and writes the same from the session, its weights and a checkpoint", async () => {
  const trained = await run("train", "whales.ts", "--server", server, "--node", "--volunteers", "2");
  const text = "the whale, a whale";
  expect(trained.trimEnd().split("\n").at(-1)).toBe(text);
  const link = /http:\S+\/s\/[0-9a-f]{32}/.exec(trained)![0];

  const asked = ["--prompt", "the w", "--length", "13", "--temperature", "0"];
  expect(await run("generate", link, ...asked)).toBe(`${text}\n`);
  expect(await run("generate", "--server", server, ...asked)).toBe(`${text}\n`);
  expect(await run("generate", "whales.ts", ...asked)).toBe(`${text}\n`);
  await run("export", link, "--format", "checkpoint", "-o", "whales.safetensors");
  expect(await run("generate", "whales.safetensors", ...asked)).toBe(`${text}\n`);

  const drawn = ["--prompt", "a wha", "--length", "40", "--temperature", "2", "--seed", "5"];
  expect(await run("generate", link, ...drawn)).toBe(await run("generate", "whales.ts", ...drawn));
});

it("writes by a tokenizer that lies with the coordinator, and by the latest weights where none were measured", async () => {
  const tokenizer = join(packageRoot, "examples/data/moby-dick.tokenizer.json");
  const source = SESSION.replace("nn.embedding(12", "nn.embedding(520")
    .replace("nn.linear(16, 12", "nn.linear(16, 520") // more outputs than the tokenizer's 512
    .replace("stride: 3", "stride: 1")
    .replace("train: [0, 400]", "train: [0, 100]")
    .replace("validation: [400, 500],", "")
    .replace('"characters"', `{ tokenizer: ${JSON.stringify(tokenizer)} }`)
    .replace('"whales", {', '"whale-tokens", {')
    .replace("{ whales:", '{ "whale-tokens":')
    .replace("export const generate", "const unused");
  writeFileSync(join(folder, "tokens.ts"), source);
  const trained = await run("train", "tokens.ts", "--server", server, "--node", "--volunteers", "1", "--steps", "2");
  const link = /http:\S+\/s\/[0-9a-f]{32}/.exec(trained)![0];
  const asked = ["--prompt", "the whale", "--length", "20", "--seed", "3"];
  const text = await run("generate", link, ...asked);
  expect(text).toMatch(/^the whale/);
  expect(text.length).toBeGreaterThan("the whale\n".length + 20);
  expect(await run("generate", "tokens.ts", ...asked)).toBe(text);
});

it("says before it trains what cannot be written in the end", async () => {
  const cases = [
    [
      "data that are no text",
      'whales: { text: { file: "whales.txt", vocabulary: "characters" } }',
      "whales: { columns: { tokens: { values: new Uint8Array(500), shape: [] } } }",
      "has no vocabulary",
    ],
    ["no figure", "temperature: 0 }", "temperature: -1 }", "wrong-1.ts: generate: temperature"],
  ] as const;
  for (const [index, [what, before, after, message]] of cases.entries()) {
    expect(SESSION).toContain(before);
    writeFileSync(
      join(folder, `wrong-${index}.ts`),
      SESSION.replace(before, after)
        .replace('dataset("whales"', 'dataset("others"')
        .replace("datasets = { whales", "datasets = { others"),
    );
    await expect(
      run("train", `wrong-${index}.ts`, "--server", server, "--volunteers", "0"),
      what,
    ).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining(message),
    });
  }
});
