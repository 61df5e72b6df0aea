/** The learning-rate finder as a person would start it, on tiny sessions. */

import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CoordinatorApi } from "../../cli/api.ts";
import { startCoordinator } from "../../cli/coordinator.ts";
import { cutDataset, readSource } from "../../cli/dataset.ts";
import { packageRoot } from "../../cli/root.ts";
import { openState } from "../../cli/state.ts";
import { dataset, defineSession, loss, nn, optim } from "../../shared/nn/index.ts";

const folder = mkdtempSync(join(tmpdir(), "commonweight-lr-find-"));

/** A straight line, learnt by gradient descent with a group of its own for the bias, held out from and scheduled. */
const LINE = `
import { dataset, defineSession, loss, nn, optim, schedule } from "commonweight/nn";

const x = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i * i));
const y = x.map((value) => 3 * value + 1);

export default defineSession({
  title: "A line",
  model: nn.linear(1, 1),
  input: [1],
  loss: loss.mse(),
  optimizer: optim.sgd({ lr: 0.5 }),
  groups: { bias: { parameters: ({ name }) => name === "bias", lr: 1 } },
  schedule: schedule.cosine(),
  data: dataset("line", { x: "x", y: "y", train: [0, 48], validation: [48, 64] }),
  batchSize: 16,
  microBatch: 16,
  epochs: 4,
});

export const datasets = { line: { columns: { x: { values: x, shape: [1] }, y: { values: y, shape: [1] } } } };

export function onEpoch(): void {
  throw new Error("an epoch of the test is none of the training's");
}
`;
writeFileSync(join(folder, "line.ts"), LINE);

const x = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i * i));
/** The same data set, and a session on it. */
const SOURCE = {
  columns: { x: { values: x, shape: [1] }, y: { values: x.map((value) => 3 * value + 1), shape: [1] } },
};
const TRAINING = defineSession({
  title: "A training",
  model: nn.linear(1, 1),
  input: [1],
  loss: loss.mse(),
  optimizer: optim.sgd({ lr: 0.5 }),
  data: dataset("line", { x: "x", y: "y", train: [0, 48] }),
  batchSize: 16,
  epochs: 4,
});

interface Finished {
  readonly type: string;
  readonly diverged: boolean;
  readonly reason: string;
  readonly points: readonly { readonly lr: number; readonly loss: number; readonly smoothed: number }[];
  readonly suggested: number | null;
  readonly minimum: number | null;
  readonly minimumTenth: number | null;
  readonly chart: string;
}

let server: string;
let api: CoordinatorApi;
let stop: () => Promise<void>;
/** A session that waits for volunteers meanwhile. */
let training: string;

beforeAll(async () => {
  const state = openState(join(folder, "state"));
  const coordinator = await startCoordinator({ state, port: 0, say: () => {} });
  server = coordinator.url;
  api = new CoordinatorApi(server, state.secret);
  stop = async () => {
    await coordinator.stop();
    state.release();
  };
  const { manifest, chunks } = cutDataset("line", readSource("line", SOURCE, folder));
  await api.pushDataset(manifest, chunks, () => {});
  training = (await api.createSession(TRAINING)).id;
});

afterAll(async () => {
  await stop();
  rmSync(folder, { recursive: true });
});

/** What the command finds, and what it tells people meanwhile. */
async function find(...args: string[]): Promise<{ finished: Finished; told: string }> {
  const bin = join(packageRoot, "bin/commonweight.js");
  const place = ["--server", server, "--data", "state", "--node", "--volunteers", "1"];
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [bin, "lr-find", "line.ts", "--json", ...place, ...args],
    { cwd: folder },
  );
  const objects = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Finished);
  const finished = objects.at(-1)!;
  expect(finished.type).toBe("finished");
  return { finished, told: stderr };
}

describe("commonweight lr-find", () => {
  it("raises the learning rate by one factor from the first to the last, and suggests one between", async () => {
    const { finished, told } = await find("--from", "1e-4", "--to", "0.5", "--steps", "50", "--out", "rates.svg");
    const { points, suggested, minimum, minimumTenth, diverged } = finished;
    expect(diverged).toBe(false);
    expect(points).toHaveLength(50);
    const factor = (0.5 / 1e-4) ** (1 / 49);
    for (const [at, { lr }] of points.entries()) expect(lr).toBe(1e-4 * factor ** at);
    expect(points.at(-1)!.lr).toBeCloseTo(0.5, 12);
    expect(suggested).toBeGreaterThan(1e-3);
    expect(suggested).toBeLessThan(0.5);
    expect(minimumTenth).toBe(minimum! / 10);

    expect(told).toMatch(/^suggested: \S+, where the smoothed loss falls most steeply$/m);
    expect(told).toMatch(/^ {2}optimizer: optim\.sgd\(\{ lr: \S+ \}\),$/m);
    expect(told).toMatch(/^ {2}and in groups\.bias, in proportion: lr: \S+$/m);
    expect(told).toContain("▲ steepest: ");
    const svg = readFileSync(join(folder, "rates.svg"), "utf8");
    expect(svg).toMatch(/^<svg [^>]*aria-label="Learning-rate test: A line">\n/);
    expect(svg).toMatch(/<\/svg>\n$/);
    expect(svg).not.toMatch(/NaN|Infinity/);
  });

  it("ends well where training falls apart, with the curve so far", async () => {
    const { finished, told } = await find("--to", "100");
    expect(finished.diverged).toBe(true);
    expect(finished.points.length).toBeLessThan(100);
    expect(finished.suggested).toBeGreaterThan(1e-4);
    // Beyond it gradient descent on this line goes further away with every step.
    expect(finished.suggested).toBeLessThan(1);
    // The session may have paused for it before the command came to stop it.
    expect(told).toMatch(/^training fell apart at a learning rate of [^\s:]+(?:: the loss explodes: .+)?$/m);
    expect(existsSync(join(folder, "lr-find.svg"))).toBe(true);
  });

  it("ends well where a gradient is not finite", async () => {
    const { finished, told } = await find("--from", "1e6", "--to", "1e30", "--steps", "40");
    expect(finished).toMatchObject({ diverged: true, suggested: null });
    expect(finished.reason).toMatch(/^the gradient of \w+ is not finite at step \d+, by \w+ client/);
    expect(told).toMatch(/^no suggestion: the loss fell nowhere before training fell apart: begin lower/m);
  });

  it("leaves no session behind where it is interrupted", async () => {
    const bin = join(packageRoot, "bin/commonweight.js");
    const place = ["--port", "0", "--data", "own", "--node", "--volunteers", "1"];
    const child = spawn(process.execPath, [bin, "lr-find", "line.ts", "--steps", "10000", "--json", ...place], {
      cwd: folder,
    });
    const ended = new Promise((resolve) => child.once("close", resolve));
    let told = "";
    child.stderr.on("data", (text: Buffer) => {
      told += text.toString();
    });
    await new Promise<void>((resolve, reject) => {
      child.stdout.on("data", (text: Buffer) => {
        if (text.includes('"type":"step"')) resolve();
      });
      void ended.then(() => reject(new Error(`it ended by itself: ${told}`)));
    });
    child.kill("SIGINT");
    expect(await ended).toBe(130);
    expect(told).toMatch(/interrupted: nothing of the test is kept\n$/);
    const state = openState(join(folder, "own"));
    const coordinator = await startCoordinator({ state, port: 0, say: () => {} });
    try {
      expect(await new CoordinatorApi(coordinator.url, state.secret).listSessions()).toEqual({ sessions: [] });
    } finally {
      await coordinator.stop();
      state.release();
    }
  });

  it("leaves no session behind, and other sessions on the data set as they were", async () => {
    const { sessions } = await api.listSessions();
    expect(sessions.map(({ id }) => id)).toEqual([training]);
    const { definition, progress } = await api.readSession(training);
    expect(progress).toMatchObject({ step: 0, status: "waiting" });
    expect(definition).toMatchObject({ optimizer: { lr: 0.5 }, title: "A training" });
  });
});
