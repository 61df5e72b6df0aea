/**
 * Headless Chromium as an arena for engines, each in a tab of its own. Rivals' code is bundled only if it is asked for.
 */

import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { BROWSER_FLAGS, BROWSER_HINT, findBrowser } from "../../cli/browser.ts";
import { Chromium, type Tab } from "../../cli/devtools.ts";
import { servePage } from "../harness/page-server.ts";
import { type Contestant, type Facts, Refusal } from "../harness/race.ts";
import type { Answer, Arena as PageArena } from "./page/arena.ts";
import type { Workload } from "./workloads.ts";

/** What the bundles are made of, by the name under which the page asks for them. */
const OURS = { ours: "bench/engine/page/arena.ts" } as const;
const RIVALS = { rivals: "bench/engine/page/rivals.ts" } as const;

const PATIENCE = 60_000;

export interface Arena {
  /** Who takes part in a workload; each has a tab of its own while it does. */
  contestants(workload: Workload, reference: Float32Array): Promise<readonly Contestant[]>;
  stop(): Promise<void>;
}

/** Throws Refusal `unavailable` where there is no browser. */
export async function startArena({ rivals }: { readonly rivals: boolean }): Promise<Arena> {
  const executable = findBrowser();
  if (executable === null) throw new Refusal("unavailable", `the engine section needs a browser: ${BROWSER_HINT}`);
  const { url, folder, stop } = await servePage({ ...OURS, ...(rivals ? RIVALS : {}) });
  const runtime = createRequire(import.meta.url).resolve("onnxruntime-web/ort-wasm-simd-threaded.wasm");
  mkdirSync(join(folder, "ort"), { recursive: true });
  copyFileSync(runtime, join(folder, "ort/ort-wasm-simd-threaded.wasm"));
  const browser = await Chromium.launch({ executable, flags: BROWSER_FLAGS });
  return {
    async contestants(workload, reference) {
      writeFileSync(join(folder, "reference.bin"), reference);
      const open = async (): Promise<Entrance> => {
        const tab = await (await browser.createProfile()).open(url);
        await tab.until("globalThis.arena !== undefined && document.readyState === 'complete'", PATIENCE, "arena");
        const names = await ask<Entrance["names"]>(tab, "open", workload, "/reference.bin");
        return { tab, names };
      };
      const { tab, names } = await open();
      await tab.close();
      return names.map(({ name, ours }) => remoteContestant(name, ours, open));
    },
    async stop() {
      await browser.stop();
      await stop();
    },
  };
}

interface Entrance {
  readonly tab: Tab;
  readonly names: Awaited<ReturnType<PageArena["open"]>>;
}

function ask<T>(tab: Tab, method: keyof PageArena, ...args: readonly unknown[]): Promise<T> {
  return tab.evaluate<T>(`arena.${method}(${args.map((arg) => JSON.stringify(arg)).join(", ")})`);
}

/** Milliseconds for one call, a compilation of many kernels or a round among them. */
const CALL_TIMEOUT = 300_000;

/** Throws Refusal `failed` when the page does not answer in time: some libraries wait for ever where they do not start. */
async function inTime<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Refusal("failed", `it does not answer for ${CALL_TIMEOUT / 1000} s`));
    }, CALL_TIMEOUT);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A tab of its own: what one contestant leaves behind, or hangs in, is no trouble of the others. */
function remoteContestant(name: string, ours: boolean, open: () => Promise<Entrance>): Contestant {
  let tab: Tab | null = null;
  const call = async <T>(method: "prepare" | "measure" | "finish"): Promise<T> => {
    tab ??= (await open()).tab;
    try {
      const answer = await inTime(ask<Answer<T>>(tab, method, name));
      if ("value" in answer) return answer.value;
      throw new Refusal(answer.refused, answer.problem);
    } catch (error) {
      await tab.close();
      throw error;
    }
  };
  return {
    name,
    ours,
    prepare: () => call("prepare"),
    measure: () => call("measure"),
    async finish() {
      const facts = await call<Facts>("finish");
      await tab?.close();
      return facts;
    },
  };
}
