/**
 * `node scripts/screenshots.ts <folder> [scene …]`: pictures of the session page in every state that it draws, each on a
 * phone and on a desktop, light and dark, from a real coordinator and a real browser. For people to look at.
 */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Browser, chromium, type Page } from "playwright-core";
import { BROWSER_FLAGS, BROWSER_HINT, findBrowser } from "../cli/browser.ts";
import { joinTraining, type TrainingHandle } from "../client/node/index.ts";
import { dataset, defineSession, localData, loss, nn, optim, type SessionOptions } from "../shared/nn/index.ts";
import { mnistSession, startTestCoordinator, type TestCoordinator, untilDone } from "../test/e2e/coordinator.ts";

const VIEWS = [
  { width: 390, height: 844, colorScheme: "light" },
  { width: 390, height: 844, colorScheme: "dark" },
  { width: 1280, height: 900, colorScheme: "light" },
  { width: 1280, height: 900, colorScheme: "dark" },
] as const;

/** A name that leads to this machine, whose http pages are not secure as those of localhost are. */
const INSECURE_HOST = "volunteers.test";
const JOIN = '[data-action="join"]';

/** What a laptop on its last fifth tells a page. */
const LOW_BATTERY =
  "navigator.getBattery = async () => Object.assign(new EventTarget(), { charging: false, level: 0.2 });";

const { positionals } = parseArgs({ allowPositionals: true });
const [folder, ...wanted] = positionals;
if (folder === undefined) throw new Error("say where the pictures go: node scripts/screenshots.ts <folder> [scene …]");
mkdirSync(folder, { recursive: true });
const executablePath = findBrowser();
if (executablePath === null) throw new Error(`pictures need a browser: ${BROWSER_HINT}`);

const browser: Browser = await chromium.launch({
  executablePath,
  args: [...BROWSER_FLAGS, `--host-resolver-rules=MAP ${INSECURE_HOST} 127.0.0.1`],
});
const coordinator: TestCoordinator = await startTestCoordinator();
const { api } = coordinator;
const volunteers: TrainingHandle[] = [];

const create = async (options: Partial<SessionOptions> = {}): Promise<string> => {
  const definition = mnistSession({
    title: "Handwritten digits",
    description: "A network of three layers learns to read MNIST's digits.",
    loss: loss.crossEntropy({ metrics: ["confusion"] }),
    contact: "Ada Lovelace, ada@example.org",
    dataLicence: "CC BY-SA 3.0",
    modelLicence: "CC0",
    epochs: 500,
    // Short epochs: pictures want a few measurements on held-out samples.
    data: dataset("mnist", {
      x: { column: "image", scale: 1 / 255 },
      y: "label",
      train: [0, 5_120],
      validation: [55_000, 56_000],
      test: [60_000, 61_000],
    }),
    ...options,
  });
  return (await api.createSession(definition)).id;
};

/** The session's page; `script` runs in it before anything else. */
async function open(id: string, options: { script?: string; host?: string } = {}): Promise<Page> {
  const { script, host } = options;
  const page = await (await browser.newContext()).newPage();
  if (script !== undefined) await page.addInitScript({ content: script });
  const url = new URL(`${coordinator.url}/s/${id}?engine=wasm`);
  if (host !== undefined) url.hostname = host;
  await page.goto(url.href);
  await page.locator('[data-figure="state"]').waitFor();
  return page;
}

async function takePart(id: string, name = ""): Promise<Page> {
  const page = await open(id);
  if (name !== "") await page.locator("[name=name]").fill(name);
  await page.locator(JOIN).click();
  return page;
}

const untilStep = (page: Page, step: number): Promise<unknown> =>
  page.waitForFunction(
    (least) => Number(document.querySelector<HTMLElement>('[data-figure="step"]')?.dataset.step) >= least,
    step,
    { timeout: 120_000 },
  );

const untilSays = (page: Page, text: string): Promise<void> =>
  page.locator('[data-figure="state"]').getByText(text).waitFor({ timeout: 120_000 });

/** Somebody else, in Node. */
async function help(id: string, name: string): Promise<TrainingHandle> {
  const handle = await joinTraining(`${coordinator.url}/s/${id}`, { engine: "wasm", workers: 1, name });
  volunteers.push(handle);
  return handle;
}

async function leaveAll(): Promise<void> {
  await Promise.all(volunteers.splice(0).map((handle) => handle.leave().catch(() => {})));
}

/** A three, with the mouse. */
async function drawThree(page: Page): Promise<void> {
  const box = await page.locator(".sheet canvas").boundingBox();
  if (box === null) throw new Error("there is no sheet to draw on");
  const strokes = [
    [0.3, 0.25],
    [0.45, 0.17],
    [0.62, 0.2],
    [0.66, 0.33],
    [0.58, 0.44],
    [0.45, 0.48],
    [0.6, 0.51],
    [0.7, 0.62],
    [0.66, 0.77],
    [0.5, 0.84],
    [0.32, 0.78],
  ] as const;
  const at = ([x, y]: readonly [number, number]) => [box.x + x * box.width, box.y + y * box.height] as const;
  await page.mouse.move(...at(strokes[0]));
  await page.mouse.down();
  for (const point of strokes) await page.mouse.move(...at(point), { steps: 3 });
  await page.mouse.up();
}

async function finished(): Promise<string> {
  const id = await create({ epochs: 6 });
  await Promise.all([help(id, "Grace"), help(id, "")]);
  await untilDone(api, id);
  return id;
}

const tableSession = () =>
  defineSession({
    title: "Two numbers",
    model: nn.sequential(nn.linear(2, 8), nn.relu(), nn.linear(8, 3)),
    input: [2],
    loss: loss.crossEntropy(),
    optimizer: optim.adam({ lr: 1e-2 }),
    data: localData({
      x: { column: "point" },
      y: "label",
      columns: [
        { name: "point", dtype: "float32", shape: [2] },
        { name: "label", dtype: "uint8", shape: [] },
      ],
      samplesPerEpoch: 64,
    }),
    batchSize: 64,
    epochs: 20,
  });

/** By name: what brings the page into the state. */
const SCENES: Readonly<Record<string, () => Promise<Page>>> = {
  waiting: async () => open(await create()),
  open: async () => {
    const id = await create();
    await help(id, "Grace");
    const page = await open(id);
    await untilSays(page, "Other browsers");
    return page;
  },
  training: async () => {
    const id = await create();
    await Promise.all([help(id, "Grace"), help(id, "عليّ")]);
    const page = await takePart(id, "Ada");
    await untilStep(page, 130);
    return page;
  },
  paused: async () => {
    const id = await create();
    const page = await takePart(id, "Ada");
    await untilStep(page, 20);
    await page.locator('[data-action="pause"]').click();
    await untilSays(page, "Paused by you");
    return page;
  },
  forget: async () => {
    const page = await takePart(await create(), "Ada");
    await untilStep(page, 5);
    await page.locator('[data-action="forget"]').click();
    return page;
  },
  battery: async () => {
    const page = await open(await create(), { script: LOW_BATTERY });
    await page.locator(JOIN).click();
    await untilSays(page, "Resting to spare your battery");
    return page;
  },
  "paused-by-session": async () => {
    const id = await create();
    const page = await takePart(id);
    await untilStep(page, 10);
    await api.control(id, "pause");
    await untilSays(page, "Paused by whoever");
    return page;
  },
  deserted: async () => {
    const id = await create();
    const page = await takePart(id);
    await untilStep(page, 10);
    await page.locator('[data-action="leave"]').click();
    await untilSays(page, "Nobody is here");
    return page;
  },
  unsupported: async () => open(await create(), { script: "delete globalThis.WebAssembly; delete globalThis.Worker;" }),
  insecure: async () => open(await create(), { host: INSECURE_HOST }),
  local: async () => open((await api.createSession(tableSession())).id),
  finished: async () => open(await finished()),
  "try-digit": async () => {
    const page = await open(await finished());
    await page.locator('[data-action="try"]').click();
    await page.locator(".sheet canvas").waitFor();
    await drawThree(page);
    await page.locator('[data-figure="answer"]').getByText("It sees").waitFor();
    return page;
  },
  "try-table": async () => {
    const id = (await api.createSession(tableSession())).id;
    const point = Float32Array.from({ length: 128 }, (_, index) => Math.sin(index));
    const label = Uint8Array.from({ length: 64 }, (_, index) => (point[index * 2] > 0 ? 1 : 0));
    const options = { engine: "wasm", workers: 1, data: { point, label } } as const;
    await (await joinTraining(`${coordinator.url}/s/${id}`, options)).finished;
    const page = await open(id);
    await page.locator('[data-action="try"]').click();
    await page.locator("[name=field-0]").fill("0.8");
    await page.locator('[data-action="predict"]').click();
    await page.locator('[data-figure="answer"]').getByText("It says").waitFor();
    return page;
  },
  stopped: async () => {
    const id = await create();
    const page = await takePart(id);
    await untilStep(page, 10);
    await api.control(id, "stop");
    await untilSays(page, "Stopped by whoever");
    return page;
  },
  failed: async () => {
    const id = await create({ optimizer: optim.sgd({ lr: 1e38 }) });
    const page = await takePart(id);
    await untilSays(page, "Stopped by a fault");
    return page;
  },
  deleted: async () => {
    const id = await create();
    const page = await takePart(id);
    await untilStep(page, 10);
    await fetch(`${coordinator.url}/api/sessions/${id}`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${coordinator.secret}` },
    });
    await untilSays(page, "This session was deleted");
    return page;
  },
  unknown: () => open("0123456789abcdef0123456789abcdef"),
  hostile: async () =>
    open(
      await create({
        title: `<img src=x onerror=alert(1)> \u202Egnp.exe ${"Z\u0301\u0335\u0322\u0336".repeat(8)} ${"W".repeat(80)}`,
        description: "<script>alert(1)</script> \u202Eright to left",
        contact: "x".repeat(200),
      }),
    ),
  // Last: it takes the coordinator away.
  disconnected: async () => {
    const page = await takePart(await create());
    await untilStep(page, 10);
    await coordinator.stop();
    await untilSays(page, "Connection lost");
    return page;
  },
};

/** Every picture of a scene. */
async function shoot(name: string, page: Page, to: string): Promise<void> {
  for (const { width, height, colorScheme } of VIEWS) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme });
    // The page draws itself once a second, and curves follow the width then.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await page.screenshot({ path: join(to, `${name}-${width}-${colorScheme}.png`), fullPage: name !== "forget" });
  }
}

try {
  for (const [name, prepare] of Object.entries(SCENES)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const page = await prepare();
    await shoot(name, page, folder);
    await page.context().close();
    await leaveAll();
    console.log(name);
  }
} finally {
  await browser.close();
  await coordinator.stop();
}
process.exit();
