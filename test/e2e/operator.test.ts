import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CoordinatorApi } from "../../cli/api.ts";
import { cutDataset, readImageSet } from "../../cli/dataset.ts";
import { packageRoot } from "../../cli/root.ts";
import { lanAddresses } from "../../cli/share.ts";
import { mnistFiles } from "../fixtures/mnist.ts";
import { mnistSession, untilDone } from "./coordinator.ts";
import { ChromiumFleet, nodeFleet } from "./fleets.ts";

const STEPS = 8;
const { trainImages: images, trainLabels: labels, testImages, testLabels } = mnistFiles;
const folder = mkdtempSync(join(tmpdir(), "commonweight-operator-"));
const state = join(folder, "state");
const bin = join(packageRoot, "bin/commonweight.js");

interface Command {
  readonly process: ChildProcess;
  /** What it said so far, on both streams. */
  readonly text: () => string;
  readonly ended: Promise<number>;
}

function start(...args: string[]): Command {
  const child = spawn(process.execPath, [bin, ...args], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (data: Buffer) => (text += data.toString()));
  return {
    process: child,
    text: () => text,
    ended: new Promise((resolve) => child.once("close", (code) => resolve(code ?? 1))),
  };
}

/** Runs a command to its end and answers what it said. */
async function run(...args: string[]): Promise<{ code: number; text: string }> {
  const command = start(...args);
  return { code: await command.ended, text: command.text() };
}

async function until(claim: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 120_000;
  while (!(await claim())) {
    if (performance.now() > end) throw new Error(`never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe("an operator", () => {
  let dev: Command;
  let api: CoordinatorApi;
  let port: string;

  beforeAll(async () => {
    dev = start("dev", "--share", "--port", "0", "--data", state);
    await until(() => dev.text().includes("admin routes") || dev.process.exitCode !== null, "dev is up");
    const url = /coordinator (http:\S+)/.exec(dev.text())?.[1];
    if (url === undefined) throw new Error(`dev did not start: ${dev.text()}`);
    port = new URL(url).port;
    api = new CoordinatorApi(url, readFileSync(join(state, "admin-secret"), "utf8").trim());
    const { manifest, chunks } = cutDataset("mnist", readImageSet({ images, labels, testImages, testLabels }));
    await api.pushDataset(manifest, chunks, () => {});
  });
  afterAll(async () => {
    dev?.process.kill("SIGTERM");
    await dev?.ended;
    rmSync(folder, { recursive: true, force: true });
  });

  const create = async (seed: number, maxSteps = STEPS): Promise<string> =>
    (await api.createSession(mnistSession({ seed, maxSteps, epochs: Math.ceil(maxSteps / 215) }))).id;
  const link = (id: string): string => `${api.server}/s/${id}`;

  /** The hash that one Node volunteer trains a session to. */
  async function train(id: string): Promise<string> {
    const volunteer = await nodeFleet.start(link(id), "volunteer");
    const { result } = await untilDone(api, id);
    await volunteer.kill();
    return result?.weightsHash ?? "";
  }

  /** The hash of seed 1 when nothing else goes on; trained once. */
  let first: Promise<string> | null = null;
  const trainedAlone = (): Promise<string> => {
    first ??= create(1).then(train);
    return first;
  };

  it("sees two sessions side by side train each to the hash that it has alone", async () => {
    const alone = [await trainedAlone(), await train(await create(2))];
    const together = await Promise.all([train(await create(1)), train(await create(2))]);
    expect(together).toEqual(alone);
    expect(alone[0]).toMatch(/^[0-9a-f]{64}$/);
    expect(alone[0]).not.toBe(alone[1]);

    const list = async () => {
      const { code, text } = await run("sessions", "--data", state, "--json");
      expect(code).toBe(0);
      const lines = text.trim().split("\n");
      return lines.map((line) => JSON.parse(line));
    };
    // What was read of the data set is reported some seconds later.
    const areCharged = async () => (await list()).every(({ usage }) => usage.r2Reads > 1);
    await expect.poll(areCharged, { timeout: 60_000, interval: 1_000 }).toBe(true);
    const listed = await list();
    expect(listed).toHaveLength(4);
    for (const session of listed) {
      expect(session).toMatchObject({ title: "MNIST", status: "finished", step: STEPS, totalSteps: STEPS });
      expect(session.usage.messages).toBeGreaterThan(2 * STEPS);
      expect(session.usage.rowsWritten).toBeGreaterThan(STEPS);
      expect(session.dollars).toBeGreaterThan(0);
      expect(session.dollars).toBeLessThan(0.01);
    }
    const table = await run("sessions", "--data", state);
    expect(table.text.split("\n")[0]).toMatch(/^id +title +status +step +created +volunteers +cost so far$/);
    expect(table.text).toContain(`${STEPS}/${STEPS}`);
    console.log(table.text);
  });

  it("deletes a session while people train: they are told by name, and the other session ends as it should", async () => {
    const alone = await trainedAlone();
    const file = join(folder, "doomed.ts");
    writeFileSync(
      file,
      `import { dataset, defineSession, loss, nn, optim } from "commonweight/nn";
export default defineSession({
  title: "Doomed",
  model: nn.sequential(nn.linear(784, 16), nn.relu(), nn.linear(16, 10)),
  input: [784],
  loss: loss.crossEntropy(),
  optimizer: optim.adam({ lr: 1e-3 }),
  data: dataset("mnist", { x: { column: "image", scale: 1 / 255 }, y: "label", train: [0, 50000] }),
  batchSize: 64,
  epochs: 1000,
});
`,
    );
    const environment = process.env.COMMONWEIGHT_ADMIN_SECRET;
    process.env.COMMONWEIGHT_ADMIN_SECRET = readFileSync(join(state, "admin-secret"), "utf8").trim();
    const training = start("train", file, "--server", api.server, "--node", "--volunteers", "2", "--data", "mine");
    if (environment === undefined) delete process.env.COMMONWEIGHT_ADMIN_SECRET;
    else process.env.COMMONWEIGHT_ADMIN_SECRET = environment;
    await until(() => /session (http\S+)/.test(training.text()), "a session is made");
    const doomed = /\/s\/([0-9a-f]{32})/.exec(training.text())?.[1] ?? "";
    const watching = start("watch", doomed, "--data", state);
    const surviving = await create(1);
    await until(async () => (await api.readSession(doomed)).progress.step >= 3, "people train");
    const survivor = train(surviving);

    const refused = await run("delete", doomed, "--data", state);
    expect(refused.code).toBe(1);
    expect(refused.text).toContain("--yes");
    expect(refused.text).toMatch(/take part at the moment, and each will be told/);
    const deleted = await run("delete", doomed, "--data", state, "--yes");
    expect(deleted).toMatchObject({ code: 0 });
    expect(deleted.text).toMatch(/“Doomed” at step \d+ of \d+ is deleted; 2 who took part were told/);
    expect(await training.ended).toBe(1);
    expect(training.text()).toMatch(/the session was deleted at step \d+/);
    expect(await watching.ended).toBe(1);
    expect(watching.text()).toMatch(/the session was deleted at step \d+/);
    expect(await survivor).toBe(alone);
    expect((await run("sessions", "--data", state)).text).not.toContain(doomed);
  });

  it("shares with a phone in the same room, whose plain http page trains with WASM to the same bits", async () => {
    const [host] = lanAddresses();
    if (host === undefined) throw new Error("this test needs an address that is not the loopback's");
    expect(dev.text()).toContain(`http://${host}:${port}/`);
    expect(dev.text()).toContain("cloudflared tunnel --url");
    const alone = await trainedAlone();
    const id = await create(1);
    const fleet = await ChromiumFleet.launch();
    try {
      // What the code in the terminal says leads to the session.
      const { tab } = await fleet.start(`http://${host}:${port}/`, "phone");
      const seen = await tab.evaluate('[location.pathname, isSecureContext, "gpu" in navigator, typeof crypto.subtle]');
      expect(seen).toEqual([`/s/${id}`, false, false, "undefined"]);
      const { result } = await untilDone(api, id);
      expect(result?.members.map(({ engine }) => engine)).toEqual(["wasm"]);
      expect(result?.weightsHash).toBe(alone);
    } finally {
      await fleet.stop();
    }
    const admin = await fetch(`http://${host}:${port}/api/sessions/${id}`, { method: "DELETE" });
    expect(admin.status).toBe(401);
  });

  it("deletes a data set once nothing trains on it", async () => {
    const busy = await create(3);
    const refused = await run("dataset", "delete", "mnist", "--yes", "--data", state);
    expect(refused.code).toBe(1);
    expect(refused.text).toContain("dataset-in-use");
    await api.control(busy, "stop");
    const deleted = await run("dataset", "delete", "mnist", "--yes", "--data", state);
    expect(deleted).toMatchObject({ code: 0 });
    expect(deleted.text).toMatch(/mnist is deleted, with \d+ chunks/);
    expect(await api.readDataset("mnist")).toBeNull();
  });

  it("can try a deployment without an account, and is told what a real one needs", async () => {
    const tried = await run("deploy", "--dry-run", "--retention-days", "30", "--quotas", "4");
    expect(tried.text).toContain("--dry-run: exiting now.");
    expect(tried.text).toContain("RETENTION_DAYS:30");
    expect(tried.text).toContain("QUOTAS:4");
    expect(tried.text).toContain("TrainingSession");
    expect(tried.code).toBe(0);
  });
});
