/** A training that moves from one coordinator to another, by the commands alone. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../cli/root.ts";

const bin = join(packageRoot, "bin/commonweight.js");
const folder = mkdtempSync(join(tmpdir(), "commonweight-checkpoint-"));
const running = new Set<ChildProcess>();

function start(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [bin, ...args], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  child.once("close", () => running.delete(child));
  return child;
}

/** Runs a command to its end. */
async function run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = start(...args);
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.on("data", (text: Buffer) => {
      output[name] += text.toString();
    });
  }
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, ...output };
}

/** `commonweight dev` in a state folder; answers the coordinator's address. */
async function startDev(data: string): Promise<{ url: string; stop: () => Promise<void> }> {
  const child = start("dev", "--data", data, "--port", "0");
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (more: Buffer) => {
      text += more.toString();
      const found = /coordinator (http:\S+)/.exec(text)?.[1];
      if (found !== undefined) resolve(found);
    });
    void ended.then(() => reject(new Error(`dev ended: ${text}`)));
  });
  return {
    url,
    stop: () => {
      child.kill();
      return ended;
    },
  };
}

const VOLUNTEERS = ["--node", "--engine", "wasm", "--json"];

async function train(
  ...args: string[]
): Promise<{ weightsHash: string; steps: number; losses: number[]; said: string }> {
  const { code, stdout, stderr } = await run("train", ...args, ...VOLUNTEERS);
  expect(code, stderr).toBe(0);
  const objects = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const end = objects.at(-1) as { weightsHash: string; steps: number };
  const losses = objects.filter(({ type }) => type === "step").map(({ loss }) => Number(loss));
  return { ...end, losses, said: stderr };
}

const SESSION = `
import { dataset, defineSession, loss, nn, optim } from "commonweight/nn";
export default defineSession({
  title: "Moves",
  model: nn.sequential(nn.linear(2, 16), nn.relu(), nn.dropout(0.2), nn.linear(16, 2)),
  input: [2],
  loss: loss.crossEntropy(),
  optimizer: optim.adam({ lr: 0.01 }),
  data: dataset("moons", { x: "features", y: "moon", train: [0, 320] }),
  batchSize: 64,
  epochs: 100,
});
export const datasets = { moons: { csv: { file: "moons.csv", target: "moon" } } };
`;

describe("a training that goes on elsewhere", () => {
  afterAll(() => {
    for (const child of running) child.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  it("has the weights of one that was never moved, bit for bit", async () => {
    expect((await run("init")).code).toBe(0);
    writeFileSync(join(folder, "moves.ts"), SESSION);
    const straight = await train("moves.ts", "--steps", "20", "--data", "straight");
    expect(straight.weightsHash).toMatch(/^[0-9a-f]{64}$/);

    const dev = await startDev("first");
    const first = await train("moves.ts", "--steps", "10", "--data", "first", "--server", dev.url, "--volunteers", "1");
    expect(first.weightsHash).not.toBe(straight.weightsHash);
    const exported = await run("export", "--format", "checkpoint", "--data", "first", "-o", "moves.safetensors");
    await dev.stop();
    expect(exported.stderr).toBe("");
    expect(exported.stdout).toContain("Moves after 10 steps");
    expect(statSync(join(folder, "moves.safetensors")).mode & 0o077).toBe(0);

    const second = await train("moves.ts", "--resume", "moves.safetensors", "--steps", "20", "--data", "second");
    expect(second.weightsHash).toBe(straight.weightsHash);
    expect(second.losses).toEqual(straight.losses);
    expect(second.said).toContain("going on from moves.safetensors at step 10");

    // The same without the session file, where the coordinator has the data already.
    const third = await train("--resume", "moves.safetensors", "--steps", "20", "--data", "second", "--fresh");
    expect(third.weightsHash).toBe(straight.weightsHash);
  });

  it("is refused before anything is started where it cannot be", async () => {
    const cases: readonly [args: string[], complaint: string][] = [
      [["--resume", "nowhere.safetensors"], "there is no checkpoint nowhere.safetensors"],
      [["--resume", "moves.ts"], "moves.ts is no checkpoint to go on from"],
      [["moves.ts", "--resume", "moves.safetensors", "--seed", "3", "--steps", "20"], "it differs in seed"],
      [["--resume", "moves.safetensors"], "nothing left to do"],
      [
        ["--resume", "moves.safetensors", "--steps", "20", "--volunteers", "0"],
        "the coordinator has no data set moons",
      ],
      [[], "give a session file to train, or a checkpoint"],
    ];
    for (const [args, complaint] of cases) {
      const { code, stderr } = await run("train", ...args, "--data", "empty");
      expect(code, args.join(" ")).toBe(1);
      expect(stderr).toContain(complaint);
    }
    writeFileSync(join(folder, "cut.safetensors"), readFileSync(join(folder, "moves.safetensors")).subarray(0, -5));
    const { code, stderr } = await run("train", "--resume", "cut.safetensors", "--steps", "20");
    expect([code, existsSync(join(folder, ".commonweight"))]).toEqual([1, false]);
    expect(stderr).toContain("cut.safetensors is no checkpoint to go on from");
  });
});
