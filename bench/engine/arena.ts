/**
 * Headless Chromium as an arena for engines: the page is bundled by Vite, served on this machine alone, isolated as
 * threads need it. Rivals' code is bundled only if it is asked for.
 */

import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build, preview } from "vite";
import { BROWSER_FLAGS, BROWSER_HINT, findBrowser } from "../../cli/browser.ts";
import { Chromium, type Tab } from "../../cli/devtools.ts";
import { packageRoot } from "../../cli/root.ts";
import { buildWorkers } from "../../scripts/build-worker.ts";
import { type Contestant, type Facts, Refusal } from "../harness/race.ts";
import type { Answer, Arena as PageArena } from "./page/arena.ts";
import type { Workload } from "./workloads.ts";

/** What the bundles are made of, by the name under which the page asks for them. */
const ENTRIES = {
  ours: "bench/engine/page/arena.ts",
  rivals: "bench/engine/page/rivals.ts",
} as const;

const PATIENCE = 60_000;

const page = (scripts: readonly string[]): string => `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>arena</title><link rel="icon" href="data:,">
${scripts.map((name) => `<script type="module" src="/${name}.js"></script>`).join("\n")}
</html>
`;

async function bundle(folder: string, rivals: boolean): Promise<void> {
  await buildWorkers();
  const names = rivals ? (["ours", "rivals"] as const) : (["ours"] as const);
  await build({
    root: packageRoot,
    configFile: false,
    logLevel: "error",
    publicDir: false,
    build: {
      outDir: folder,
      target: "es2023",
      minify: true,
      modulePreload: false,
      assetsInlineLimit: 0,
      rolldownOptions: {
        input: Object.fromEntries(names.map((name) => [name, join(packageRoot, ENTRIES[name])])),
        output: { entryFileNames: "[name].js" },
      },
    },
  });
  writeFileSync(join(folder, "index.html"), page(names));
  const runtime = createRequire(import.meta.url).resolve("onnxruntime-web/ort-wasm-simd-threaded.wasm");
  mkdirSync(join(folder, "ort"), { recursive: true });
  copyFileSync(runtime, join(folder, "ort/ort-wasm-simd-threaded.wasm"));
}

/** Threads and fine clocks need isolation; both headers say that nothing of others is here. */
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cache-Control": "no-store",
};

export interface Arena {
  /** Who takes part in a workload; each has a tab of its own while it does. */
  contestants(workload: Workload, reference: Float32Array): Promise<readonly Contestant[]>;
  stop(): Promise<void>;
}

/** Throws Refusal `unavailable` where there is no browser. */
export async function startArena({ rivals }: { readonly rivals: boolean }): Promise<Arena> {
  const executable = findBrowser();
  if (executable === null) throw new Refusal("unavailable", `the engine section needs a browser: ${BROWSER_HINT}`);
  const folder = mkdtempSync(join(tmpdir(), "commonweight-bench-"));
  await bundle(folder, rivals);
  const server = await preview({
    root: packageRoot,
    configFile: false,
    logLevel: "error",
    build: { outDir: folder },
    preview: { host: "127.0.0.1", headers: HEADERS },
  });
  const [address] = server.resolvedUrls?.local ?? [];
  const browser = await Chromium.launch({ executable, flags: BROWSER_FLAGS });
  return {
    async contestants(workload, reference) {
      writeFileSync(join(folder, "reference.bin"), reference);
      const open = async (): Promise<Entrance> => {
        const tab = await (await browser.createProfile()).open(address);
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
      await server.close();
      rmSync(folder, { recursive: true, force: true });
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
