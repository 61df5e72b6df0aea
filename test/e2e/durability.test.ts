import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { CoordinatorApi } from "../../cli/api.ts";
import { cutDataset, readImageSet } from "../../cli/dataset.ts";
import { packageRoot } from "../../cli/root.ts";
import { joinTraining, type TrainingHandle } from "../../client/node/index.ts";
import { mnistFiles } from "../fixtures/mnist.ts";
import { mnistSession, untilDone } from "./coordinator.ts";

const STEPS = 60;
const { trainImages: images, trainLabels: labels, testImages, testLabels } = mnistFiles;

/** Process ids of a process's workerd children. */
function workerdsOf(pid: number): number[] {
  const lines = execFileSync("ps", ["-eo", "pid=,ppid=,comm="]).toString().trim().split("\n");
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, parent, name]) => Number(parent) === pid && name?.startsWith("workerd"))
    .map(([child]) => Number(child));
}

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

const folder = mkdtempSync(join(tmpdir(), "commonweight-kill-"));
const state = join(folder, "state");

interface Dev {
  readonly process: ChildProcess;
  readonly url: string;
  readonly api: CoordinatorApi;
}

/** `commonweight dev`, as an operator runs it. */
async function startDev(port = "0"): Promise<Dev> {
  const bin = join(packageRoot, "bin/commonweight.js");
  const process_ = spawn(process.execPath, [bin, "dev", "--data", state, "--port", port], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    process_.stdout?.on("data", (data: Buffer) => {
      text += data.toString();
      const found = /coordinator (http:\S+)/.exec(text)?.[1];
      if (found !== undefined) resolve(found);
    });
    process_.once("exit", (code) => reject(new Error(`dev ended with ${code}: ${text}`)));
  });
  return {
    process: process_,
    url,
    api: new CoordinatorApi(url, readFileSync(join(state, "admin-secret"), "utf8").trim()),
  };
}

/** A volunteer that notes every version and step it sees. */
async function watch(link: string): Promise<{ handle: TrainingHandle; steps: number[] }> {
  const steps: number[] = [];
  const versions: number[] = [];
  const handle = await joinTraining(link, { engine: "wasm", workers: 1 });
  handle.on("progress", ({ step, version }) => {
    steps.push(step);
    versions.push(version);
    for (const seen of [steps, versions]) expect(seen.at(-1)).toBeGreaterThanOrEqual(seen.at(-2) ?? 0);
  });
  return { handle, steps };
}

describe("a coordinator that is killed (I3)", () => {
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("loses nothing: workerd killed five times, then the whole tree, and the hash is that of the calm run", async () => {
    let dev = await startDev();
    const { manifest, chunks } = cutDataset("mnist", readImageSet({ images, labels, testImages, testLabels }));
    await dev.api.pushDataset(manifest, chunks, () => {});
    const definition = mnistSession({ maxSteps: STEPS });
    const create = async (): Promise<string> => (await dev.api.createSession(definition)).id;

    const calm = await create();
    const calmVolunteer = await watch(`${dev.url}/s/${calm}`);
    const expected = (await untilDone(dev.api, calm)).result?.weightsHash;
    expect(expected).toMatch(/^[0-9a-f]{64}$/);
    await calmVolunteer.handle.finished;

    const killed = await create();
    const volunteers = await Promise.all([watch(`${dev.url}/s/${killed}`), watch(`${dev.url}/s/${killed}`)]);
    for (let kill = 0; kill < 5; kill++) {
      await pause(250 + 170 * kill);
      const workerds = workerdsOf(dev.process.pid ?? -1);
      expect(workerds.length).toBeGreaterThan(0);
      for (const pid of workerds) process.kill(pid, "SIGKILL");
      // Up again by itself, and somebody has come back to work.
      await expect
        .poll(
          () =>
            dev.api.readSession(killed).then(
              ({ id }) => id,
              () => "",
            ),
          { timeout: 20_000 },
        )
        .toBe(killed);
    }
    expect((await untilDone(dev.api, killed)).result?.weightsHash).toBe(expected);
    for (const { handle } of volunteers) await handle.finished;

    const felled = await create();
    const survivor = await watch(`${dev.url}/s/${felled}`);
    await expect.poll(() => survivor.handle.progress.step, { timeout: 30_000 }).toBeGreaterThan(10);
    const tree = [...workerdsOf(dev.process.pid ?? -1), dev.process.pid ?? -1];
    for (const pid of tree) process.kill(pid, "SIGKILL");
    await pause(300);
    dev = await startDev(new URL(dev.url).port);
    expect((await untilDone(dev.api, felled)).result?.weightsHash).toBe(expected);
    await survivor.handle.finished;
    dev.process.kill("SIGTERM");
  });
});
