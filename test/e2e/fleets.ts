/** What WASM volunteers run in, for tests that end them without warning: Node processes, or tabs of one Chromium. */

import { spawn } from "node:child_process";
import { join } from "node:path";
import { BROWSER_FLAGS, BROWSER_HINT, findBrowser } from "../../cli/browser.ts";
import { Chromium, type Profile, type Tab } from "../../cli/devtools.ts";
import { packageRoot } from "../../cli/root.ts";

/** Path of the browser. Throws if there is none: tests do not skip. */
export function requireBrowser(): string {
  const path = findBrowser();
  if (path === null) throw new Error(`these tests need a browser: ${BROWSER_HINT}`);
  return path;
}

export interface FleetMember {
  /** Resolves when it is gone, however that came. */
  readonly ended: Promise<void>;
  /** Ends it at once: it says nothing more. */
  kill(): Promise<void>;
}

export interface Fleet {
  readonly name: "Node" | "Chromium";
  /** Milliseconds that a volunteer lives where they are killed: long enough for some of its work to count. */
  readonly lifetime: readonly [least: number, most: number];
  /** A volunteer of the session behind `link`, under way. One that starts again under its name has its data at hand. */
  start(link: string, name: string): Promise<FleetMember>;
  stop(): Promise<void>;
}

/** Each volunteer is a process of `commonweight volunteer`. */
export const nodeFleet: Fleet = {
  name: "Node",
  lifetime: [1_500, 4_500],
  start: async (link) => {
    const bin = join(packageRoot, "bin/commonweight.js");
    const options = ["--engine", "wasm", "--workers", "1"];
    const child = spawn(process.execPath, [bin, "volunteer", link, ...options], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    // It says that it takes part: how long it took to come there is not part of its life.
    const isThere = new Promise<void>((resolve) => child.stdout.on("data", () => resolve()));
    await Promise.race([isThere, ended]);
    return {
      ended,
      kill: () => {
        child.kill("SIGKILL");
        return ended;
      },
    };
  },
  stop: async () => {},
};

export const JOIN = '[data-action="join"]';
const LOAD_TIMEOUT = 60_000;

/** Each volunteer is a tab with a renderer process of its own, that joined by the page's button. */
export class ChromiumFleet implements Fleet {
  readonly name = "Chromium";
  readonly lifetime = [4_000, 12_000] as const;
  readonly #browser: Chromium;
  /** A profile for each name: who comes back finds the browser's cache as it was left. */
  readonly #profiles = new Map<string, Promise<Profile>>();

  private constructor(browser: Chromium) {
    this.#browser = browser;
  }

  static async launch(): Promise<ChromiumFleet> {
    return new ChromiumFleet(await Chromium.launch({ executable: requireBrowser(), flags: BROWSER_FLAGS }));
  }

  async start(link: string, name: string): Promise<FleetMember & { readonly tab: Tab }> {
    const profile = this.#profiles.get(name) ?? this.#browser.createProfile();
    this.#profiles.set(name, profile);
    const tab = await (await profile).open(`${link}?engine=wasm&share=100`);
    await tab.click(JOIN, LOAD_TIMEOUT);
    return {
      tab,
      ended: tab.gone.then(() => {}),
      kill: async () => {
        await tab.crash();
        await tab.close();
      },
    };
  }

  stop(): Promise<void> {
    return this.#browser.stop();
  }
}
