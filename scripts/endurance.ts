/**
 * `npm run endurance -- [--minutes 30] [--engine wasm|webgpu] [--shares 25,50,75]`: one volunteer's page left open, with
 * the slider moved to the next share as the time goes on. Prints a line a minute: the heap of the page and of its worker,
 * the memory of the browser's processes, main-thread tasks over 50 ms, and the time that the operating system counted,
 * beside the share that was set. For Linux; a busy machine spoils the figures.
 */

import { parseArgs } from "node:util";
import { cpuSeconds, findDescendants, residentBytes } from "../bench/harness/processes.ts";
import { BROWSER_FLAGS } from "../cli/browser.ts";
import { Chromium } from "../cli/devtools.ts";
import { mnistSession, startTestCoordinator } from "../test/e2e/coordinator.ts";
import { JOIN, requireBrowser } from "../test/e2e/fleets.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "30" },
    engine: { type: "string", default: "wasm" },
    shares: { type: "string", default: "25,50,75" },
  },
});
const minutes = Number(values.minutes);
const shares = values.shares.split(",").map(Number);

const PAGE = 'document.querySelector("commonweight-page")';
const PATIENCE = 120_000;
const MINUTE = 60_000;

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
const percent = (part: number): string => `${(part * 100).toFixed(1)} %`;

const coordinator = await startTestCoordinator();
const browser = await Chromium.launch({ executable: requireBrowser(), flags: BROWSER_FLAGS });
const { id } = await coordinator.api.createSession(mnistSession({ batchSize: 1024, epochs: 10_000 }));
const tab = await (await browser.createProfile()).open(`${coordinator.url}/s/${id}?engine=${values.engine}`);
const pids = (type: string): number[] => findDescendants(process.pid, `--type=${type}`);
const sum = (of: (pid: number) => number, type: string): number => pids(type).reduce((all, pid) => all + of(pid), 0);

const setSlider = (share: number): Promise<unknown> =>
  tab.evaluate(`(() => {
    const slider = document.querySelector('input[name="share"]');
    slider.value = "${share}";
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  })()`);

await tab.click(JOIN, PATIENCE);
await tab.until(`${PAGE}.handle?.contributed.acceptedShards > 20`, PATIENCE, "results");
await tab.evaluate(`(() => {
  globalThis.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longTasks.push(Math.round(duration));
  }).observe({ type: "longtask" });
})()`);

interface Look {
  readonly time: number;
  readonly renderer: number;
  readonly gpu: number;
  readonly computeSeconds: number;
}

const look = async (): Promise<Look> => ({
  computeSeconds: await tab.evaluate<number>(`${PAGE}.handle.usage.computeSeconds`),
  time: performance.now(),
  renderer: sum(cpuSeconds, "renderer"),
  gpu: sum(cpuSeconds, "gpu-process"),
});

/** Live bytes of the page and of its workers, garbage collected first. */
async function heaps(): Promise<{ page: number; workers: number }> {
  await tab.call("HeapProfiler.collectGarbage");
  const breakdown = await tab.evaluate<{ bytes: number; isWorker: boolean }[]>(
    `performance.measureUserAgentSpecificMemory().then(({ breakdown }) => breakdown.map(({ bytes, attribution }) =>
      ({ bytes, isWorker: attribution.some(({ scope }) => scope === "DedicatedWorkerGlobalScope") })))`,
  );
  const of = (isWorker: boolean): number =>
    breakdown.filter((part) => part.isWorker === isWorker).reduce((all, { bytes }) => all + bytes, 0);
  return { page: of(false), workers: of(true) };
}

let share = 0;
let tasks = 0;
for (let minute = 0; minute < minutes; minute++) {
  const wanted = shares[Math.floor((minute / minutes) * shares.length)] ?? 100;
  if (wanted !== share) {
    share = wanted;
    await setSlider(share);
    await pause(5_000); // what was owed at the share before
  }
  const before = await look();
  await pause(MINUTE);
  const after = await look();
  const seconds = (after.time - before.time) / 1000;
  const long = await tab.evaluate<number[]>("longTasks.splice(0)");
  tasks += long.length;
  // How it is measured takes tasks of its own, which are not the page's.
  const { page, workers } = await heaps();
  await tab.evaluate("new Promise((resolve) => setTimeout(() => resolve(longTasks.splice(0)), 200))");
  const { step, samples } = await tab.evaluate<{ step: number; samples: number }>(
    `({ step: ${PAGE}.handle.progress.step, samples: ${PAGE}.handle.contributed.samples })`,
  );
  console.log(
    [
      `${String(minute + 1).padStart(2)} min`,
      `step ${step}, ${samples} samples`,
      `heap ${megabytes(page)} + workers ${megabytes(workers)}`,
      `renderer ${megabytes(sum(residentBytes, "renderer"))}, GPU process ${megabytes(sum(residentBytes, "gpu-process"))}`,
      `long tasks ${long.length}${long.length === 0 ? "" : ` (${long.join(", ")} ms)`}`,
      `slider ${share} %: engine ${percent((after.computeSeconds - before.computeSeconds) / seconds)}`,
      `system: renderer ${percent((after.renderer - before.renderer) / seconds)} of a core, GPU process ${percent((after.gpu - before.gpu) / seconds)}`,
    ].join(" · "),
  );
}
console.log(`${minutes} minutes, ${tasks} main-thread tasks over 50 ms`);
await browser.stop();
await coordinator.stop();
process.exit(0);
