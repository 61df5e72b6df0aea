/** A researcher's first day, by the commands alone: each is started as a person would start it, from an empty folder. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openApi } from "../../cli/access.ts";
import type { CoordinatorApi } from "../../cli/api.ts";
import { packageRoot } from "../../cli/root.ts";

const bin = join(packageRoot, "bin/commonweight.js");
const folder = mkdtempSync(join(tmpdir(), "commonweight-researcher-"));
const running = new Set<ChildProcess>();

/** A command that runs in the folder. */
interface Running {
  readonly output: { stdout: string; stderr: string };
  /** Its exit code, once it has ended. */
  readonly ended: Promise<number | null>;
  /** Resolves once it has printed `text`; rejects if it ends before. */
  printed(text: string): Promise<void>;
  stop(): Promise<number | null>;
}

function start(...args: string[]): Running {
  const child = spawn(process.execPath, [bin, ...args], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  const output = { stdout: "", stderr: "" };
  const listeners = new Set<() => void>();
  for (const name of ["stdout", "stderr"] as const) {
    child[name].on("data", (text: Buffer) => {
      output[name] += text.toString();
      for (const listener of listeners) listener();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve)).then((code) => {
    running.delete(child);
    return code;
  });
  const printed = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (output.stdout.includes(text) || output.stderr.includes(text)) resolve();
      };
      listeners.add(look);
      look();
      void ended.then(() => reject(new Error(`${args.join(" ")} ended without ${text}: ${JSON.stringify(output)}`)));
    });
  const stop = (): Promise<number | null> => {
    child.kill();
    return ended;
  };
  return { output, ended, printed, stop };
}

/** Runs a command to its end. */
async function run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const command = start(...args);
  const code = await command.ended;
  return { code, ...command.output };
}

const linesOf = (text: string): Record<string, unknown>[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const linkIn = (text: string): string => /http:\S+\/s\/[0-9a-f]{32}/.exec(text)![0];

let dev: Running;
let server: string;
let api: CoordinatorApi;

beforeAll(async () => {
  expect((await run("init")).code).toBe(0);
  dev = start("dev", "--port", "0");
  await dev.printed("coordinator http");
  server = /coordinator (http\S+)/.exec(dev.output.stdout)![1];
  api = openApi({ data: join(folder, ".commonweight") });
});

afterAll(async () => {
  await dev?.stop();
  for (const child of running) child.kill();
  rmSync(folder, { recursive: true, force: true });
});

/** A session of the starter's file with nobody to compute; the command that made it goes on watching. */
async function startAlone(title: string): Promise<{ command: Running; link: string; id: string }> {
  const source = readFileSync(join(folder, "session.ts"), "utf8");
  const file = `${title.replace(/\W/g, "")}.ts`;
  writeFileSync(
    join(folder, file),
    source.replace('"Two moons"', JSON.stringify(title)).replace("epochs: 40", "epochs: 100000"),
  );
  const command = start("train", file, "--server", server, "--volunteers", "0");
  await command.printed("nobody computes here");
  const link = linkIn(command.output.stdout);
  return { command, link, id: link.slice(-32) };
}

it("pushes a table, trains on it, watches from another terminal, and exports weights and curves", async () => {
  const pushed = await run("dataset", "push", "moons", "--csv", "moons.csv", "--target", "moon");
  expect(pushed.code).toBe(0);
  expect(pushed.stderr).toContain("everyone who takes part can copy these data");
  const source = readFileSync(join(folder, "session.ts"), "utf8");
  const [, data] = /^ *(data: dataset\(.*\),)$/m.exec(pushed.stdout)!;
  // What push prints is what the session file says.
  expect(source).toContain(data);
  const again = await run("dataset", "push", "moons", "--csv", "moons.csv", "--target", "moon", "--mine");
  expect([again.code, again.stderr]).toEqual([0, ""]);

  const training = start("train", "session.ts", "--server", server, "--node", "--out", "m.safetensors");
  await training.printed("/s/");
  const link = linkIn(training.output.stdout);
  const watching = start("watch", link, "--json");
  expect(await training.ended).toBe(0);
  expect(training.output.stdout).not.toContain("pushing data set");
  expect(training.output.stdout).toMatch(/test accuracy (?:9\d|100)\.\d+ %/);

  expect(await watching.ended).toBe(0);
  const events = linesOf(watching.output.stdout);
  expect(events[0]).toMatchObject({ type: "session", url: link, title: "Two moons", totalSteps: 200 });
  const steps = events.filter(({ type }) => type === "step").map(({ step }) => step);
  expect(steps).toEqual(Array.from({ length: 200 }, (_, index) => index + 1));
  expect(events.filter(({ type }) => type === "epoch")).toHaveLength(40);
  expect(events.at(-1)).toMatchObject({
    type: "finished",
    steps: 200,
    bestHash: expect.stringMatching(/^[0-9a-f]{64}$/),
  });

  const id = link.slice(-32);
  const exports = [
    await run("export", link, "-o", "weights.safetensors"),
    await run("export", id, "--format", "csv", "-o", "out/metrics.csv"),
    await run("export", id, "--format", "jsonl"),
    await run("export", id, "--format", "tensorboard", "-o", "runs/moons"),
  ];
  expect(exports.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
  const weights = readFileSync(join(folder, "weights.safetensors"));
  expect(weights.equals(readFileSync(join(folder, "m.safetensors")))).toBe(true);
  const csv = readFileSync(join(folder, "out/metrics.csv"), "utf8").trimEnd().split("\n");
  expect(csv[0]).toBe("split,step,epoch,lr,loss,correct,samples,time");
  expect(csv.filter((line) => line.startsWith("train,"))).toHaveLength(200);
  expect(csv.filter((line) => line.startsWith("validation,"))).toHaveLength(40);
  expect(csv.at(-1)).toMatch(/^test,200,,/);
  const record = linesOf(readFileSync(join(folder, "metrics.jsonl"), "utf8"));
  const losses = events.filter(({ type }) => type === "step").map(({ loss }) => loss);
  expect(record.filter(({ split }) => split === "train").map(({ loss }) => loss)).toEqual(losses);
  expect(readdirSync(join(folder, "runs/moons"))).toEqual([expect.stringMatching(/^events\.out\.tfevents\.\d{10}\./)]);

  // A session that is over is shown, and that is it.
  const later = await run("watch", id);
  expect([later.code, later.stdout]).toEqual([0, expect.stringContaining("finished after 200 steps")]);
});

describe("watch says plainly", () => {
  it("that nobody has joined, who came, that everyone has left, a pause, and that the session was deleted", async () => {
    const { command, link, id } = await startAlone("Alone");
    const watching = start("watch", link);
    await watching.printed("nobody has joined yet: it begins when somebody opens");
    const volunteer = start("volunteer", link, "--workers", "1");
    await watching.printed("somebody is there: 1 taking part");
    await volunteer.printed("taking part in Alone");
    await watching.printed("loss 0");
    await volunteer.stop();
    await watching.printed("everyone has left at step");
    await api.control(id, "pause");
    await watching.printed("paused at step");
    await api.control(id, "resume");
    await watching.printed("resumed at step");
    const secret = readFileSync(join(folder, ".commonweight/admin-secret"), "utf8").trim();
    const headers = { authorization: `Bearer ${secret}` };
    expect((await fetch(`${server}/api/sessions/${id}`, { method: "DELETE", headers })).status).toBe(200);
    expect([await watching.ended, await command.ended]).toEqual([1, 1]);
    expect(watching.output.stderr).toContain("the session was deleted at step");
    expect(command.output.stderr).toContain("the session was deleted at step");
    const gone = await run("watch", link);
    expect([gone.code, gone.stderr]).toEqual([1, expect.stringContaining("refused")]);
  });

  it("that it was stopped, and ends without an error", async () => {
    const { command, link, id } = await startAlone("Stopped");
    const watching = start("watch", link, "--json");
    await watching.printed('"status"');
    await api.control(id, "stop");
    expect(await watching.ended, watching.output.stderr).toBe(0);
    expect(linesOf(watching.output.stdout).some(({ status }) => status === "stopped")).toBe(true);
    await command.stop();
  });
});

it("a hostile title is shown as text by train, watch, volunteer and export", async () => {
  const title = "\u001b[2J\u001b]0;owned\u0007Mo\u202eons\u009b31m\r\nerror: none";
  const { command, link } = await startAlone(title);
  const watching = start("watch", link);
  await watching.printed("nobody has joined yet");
  const volunteer = start("volunteer", link, "--workers", "1");
  await volunteer.printed("taking part in Moons error: none");
  await watching.printed("loss 0");
  const exported = await run("export", link, "--which", "latest");
  await Promise.all([volunteer.stop(), watching.stop(), command.stop()]);
  expect(exported.stdout).toContain("latest weights of Moons error: none");
  for (const { output } of [command, watching, volunteer, { output: exported }]) {
    for (const harmful of ["\u001b", "\u0007", "\u202e", "\u009b", "\r"]) {
      expect(output.stdout + output.stderr).not.toContain(harmful);
    }
  }
});
