/** Volunteers that the command line starts itself: browser tabs, or Node processes where there is no browser. */

import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { BROWSER_FLAGS } from "./browser.ts";
import { messageOf } from "./errors.ts";
import { packageRoot } from "./root.ts";

export type VolunteerEngine = "auto" | "webgpu" | "wasm";

export interface Volunteers {
  /** How many are still there. */
  readonly alive: number;
  /** Why the last one that died did so; empty otherwise. */
  readonly lastDeath: string;
  stop(): Promise<void>;
}

export interface VolunteerOptions {
  /** The session's page. */
  readonly url: string;
  /** One a volunteer. */
  readonly engines: readonly VolunteerEngine[];
  readonly say: (line: string) => void;
}

/** Opens one tab a volunteer and presses its button, as a person would. */
export async function startTabs(executablePath: string, { url, engines, say }: VolunteerOptions): Promise<Volunteers> {
  const { chromium } = await import("playwright-core");
  const browser: Browser = await chromium.launch({ executablePath, headless: true, args: [...BROWSER_FLAGS] });
  let alive = engines.length;
  let lastDeath = "";
  let stopping = false;
  const died = (reason: string): void => {
    if (stopping || alive === 0) return;
    alive -= 1;
    lastDeath = reason;
    say(`a volunteer is gone: ${reason}`);
  };
  browser.on("disconnected", () => {
    while (alive > 0 && !stopping) died("the browser was closed");
  });
  const open = async (engine: VolunteerEngine): Promise<void> => {
    const context = await browser.newContext();
    const page = await context.newPage();
    let gone = false;
    const once = (reason: string): void => {
      if (!gone) died(reason);
      gone = true;
    };
    page.on("crash", () => once("its tab crashed"));
    page.on("close", () => once("its tab was closed"));
    page.on("pageerror", (error) => say(`the page reports: ${error.message}`));
    await page.goto(`${url}?engine=${engine}`);
    await page.locator('[data-action="join"]').click({ timeout: 30_000 });
  };
  try {
    await Promise.all(engines.map(open));
  } catch (error) {
    stopping = true;
    await browser.close();
    throw new Error(`a tab could not join: ${messageOf(error)}`, { cause: error });
  }
  return {
    get alive() {
      return alive;
    },
    get lastDeath() {
      return lastDeath;
    },
    stop: async () => {
      stopping = true;
      await browser.close();
    },
  };
}

/** Starts one process of `commonweight volunteer` a volunteer. */
export function startProcesses({ url, engines, say }: VolunteerOptions): Volunteers {
  let lastDeath = "";
  let stopping = false;
  const living = new Set<ChildProcess>();
  for (const engine of engines) {
    const bin = join(packageRoot, "bin/commonweight.js");
    const wanted = engine === "webgpu" ? "wasm" : engine;
    const child = spawn(process.execPath, [bin, "volunteer", url, "--engine", wanted, "--workers", "1", "--quiet"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let complaint = "";
    child.stderr.on("data", (text: Buffer) => {
      complaint = (complaint + text.toString()).slice(-500);
    });
    living.add(child);
    child.once("exit", (code) => {
      living.delete(child);
      if (stopping || code === 0) return;
      lastDeath = complaint.trim() || `exit code ${code}`;
      say(`a volunteer is gone: ${lastDeath}`);
    });
  }
  return {
    get alive() {
      return living.size;
    },
    get lastDeath() {
      return lastDeath;
    },
    stop: async () => {
      stopping = true;
      for (const child of living) child.kill();
    },
  };
}
