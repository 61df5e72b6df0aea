import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cutDataset, readImageSet } from "../../cli/dataset.ts";
import type { Tab } from "../../cli/devtools.ts";
import { joinTraining } from "../../client/node/index.ts";
import { mnistFiles } from "../fixtures/mnist.ts";
import { mnistSession, untilDone } from "./coordinator.ts";
import { type Dev, killTree, killWorkerd, startDev } from "./dev.ts";
import { schedule } from "./exactness.ts";
import { ChromiumFleet } from "./fleets.ts";

/** The page's own element, as an expression. */
const PAGE = `document.querySelector("commonweight-page")`;

const STEPS = 100;
/** Steps at most from one kill to the next: five of them, and what is done before each is seen, fit into the run. */
const GAP = 12;
const SEED = 7;
const { trainImages: images, trainLabels: labels, testImages, testLabels } = mnistFiles;

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

const folder = mkdtempSync(join(tmpdir(), "commonweight-kill-"));
const state = join(folder, "state");

/** What a tab heard of, in order: where the session stands, and which weights it set. */
type Heard = Record<"progress" | "weights", { readonly step: number; readonly version: number }[]>;

/** A tab that takes part, and keeps all that it hears. */
async function watch(fleet: ChromiumFleet, link: string, name: string): Promise<Tab> {
  const { tab } = await fleet.start(link, name);
  await tab.until(`${PAGE}.handle !== null`, 60_000, "handle");
  await tab.evaluate(`(() => {
    globalThis.heard = { progress: [], weights: [] };
    for (const what of Object.keys(heard)) {
      ${PAGE}.handle.on(what, ({ step, version }) => heard[what].push({ step, version }));
    }
  })()`);
  return tab;
}

/** No client saw the version fall or a step twice. */
function expectOnward({ progress, weights }: Heard): void {
  expect(weights.length).toBeGreaterThan(0);
  for (const stream of [progress, weights]) {
    for (const figure of ["step", "version"] as const) {
      const seen = stream.map((entry) => entry[figure]);
      expect(seen).toEqual([...seen].sort((a, b) => a - b));
    }
  }
  const versions = weights.map(({ version }) => version);
  expect(new Set(versions).size, "weights set once a version").toBe(versions.length);
}

/** Waits for the tab's own word that it took part until the end; what it heard of is then checked. */
async function finish(tab: Tab): Promise<void> {
  const status = `document.querySelector('[data-figure="status"]')?.textContent.trim().startsWith("finished")`;
  await tab.until(status, 60_000, "end");
  expectOnward(await tab.evaluate<Heard>("heard"));
  await tab.close();
}

describe("a coordinator that is killed (I3)", () => {
  let dev: Dev;
  let fleet: ChromiumFleet;
  let expected: string;
  const definition = mnistSession({ maxSteps: STEPS });
  const create = async (): Promise<string> => (await dev.api.createSession(definition)).id;

  beforeAll(async () => {
    fleet = await ChromiumFleet.launch();
    dev = await startDev(state);
    const { manifest, chunks } = cutDataset("mnist", readImageSet({ images, labels, testImages, testLabels }));
    await dev.api.pushDataset(manifest, chunks, () => {});
    const calm = await create();
    const volunteer = await joinTraining(`${dev.url}/s/${calm}`, { engine: "wasm", workers: 1 });
    expected = (await untilDone(dev.api, calm)).result?.weightsHash ?? "";
    expect(expected).toMatch(/^[0-9a-f]{64}$/);
    await volunteer.finished;
  });
  afterAll(async () => {
    dev?.process.kill("SIGTERM");
    await fleet?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it("loses nothing when workerd dies five times: the tabs go on, and the bits are the calm run's", async () => {
    const id = await create();
    // All of it lies before the kills, however long tabs take to open.
    await dev.api.control(id, "pause");
    const tabs = [await watch(fleet, `${dev.url}/s/${id}`, "one"), await watch(fleet, `${dev.url}/s/${id}`, "two")];
    await dev.api.control(id, "resume");
    const random = schedule(SEED);
    const readStep = async () => (await dev.api.readSession(id)).progress.step;
    for (let kill = 0; kill < 5; kill++) {
      const gap = Math.ceil(random() * GAP);
      const delay = Math.round(random() * 50);
      const from = await readStep();
      await expect.poll(readStep, { timeout: 60_000, interval: 10 }).toBeGreaterThanOrEqual(from + gap);
      await pause(delay);
      const step = await readStep();
      console.log(`seed ${SEED}: workerd killed ${gap} steps on and ${delay} ms later, at step ${step} of ${STEPS}`);
      expect(step).toBeLessThan(STEPS);
      killWorkerd(dev);
      // Up again by itself, with somebody back at work.
      await expect
        .poll(
          () =>
            readStep().then(
              (now) => now > step,
              () => false,
            ),
          { timeout: 30_000, interval: 10 },
        )
        .toBe(true);
    }
    expect((await untilDone(dev.api, id)).result?.weightsHash).toBe(expected);
    for (const tab of tabs) await finish(tab);
  });

  it("loses nothing when the whole process tree dies, and goes on with the same tab once it is started again", async () => {
    const id = await create();
    const tab = await watch(fleet, `${dev.url}/s/${id}`, "one");
    await tab.until("heard.weights.at(-1)?.step > 10", 60_000, "step");
    killTree(dev);
    await pause(300);
    dev = await startDev(state, new URL(dev.url).port);
    expect((await untilDone(dev.api, id)).result?.weightsHash).toBe(expected);
    await finish(tab);
  });
});
