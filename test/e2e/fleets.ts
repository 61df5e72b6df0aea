/** What WASM volunteers run in, for tests that end them without warning: Node processes, or tabs of one Chromium. */

import { spawn } from "node:child_process";
import { join } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { BROWSER_FLAGS, BROWSER_HINT, findBrowser } from "../../cli/browser.ts";
import { packageRoot } from "../../cli/root.ts";

export interface FleetMember {
  /** Resolves when it is gone, however that came. */
  readonly ended: Promise<void>;
  /** Ends it at once: it says nothing more. */
  kill(): Promise<void>;
}

export interface Fleet {
  readonly name: "Node" | "Chromium";
  /** A volunteer of the session behind `link`, under way. One that starts again under its name has its data at hand. */
  start(link: string, name: string): Promise<FleetMember>;
  stop(): Promise<void>;
}

/** Each volunteer is a process of `commonweight volunteer`. */
export const nodeFleet: Fleet = {
  name: "Node",
  start: async (link) => {
    const bin = join(packageRoot, "bin/commonweight.js");
    const options = ["--engine", "wasm", "--workers", "1", "--quiet"];
    const child = spawn(process.execPath, [bin, "volunteer", link, ...options], { stdio: "ignore" });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
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

/** Each volunteer is a tab with a renderer process of its own, that joined by the page's button. */
export class ChromiumFleet implements Fleet {
  readonly name = "Chromium";
  readonly #browser: Browser;
  /** A profile for each name: who comes back finds the browser's cache as it was left. */
  readonly #profiles = new Map<string, Promise<BrowserContext>>();

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  /** Throws if there is no browser: tests do not skip. */
  static async launch(): Promise<ChromiumFleet> {
    const executablePath = findBrowser();
    if (executablePath === null) throw new Error(`these tests need a browser: ${BROWSER_HINT}`);
    return new ChromiumFleet(await chromium.launch({ executablePath, args: [...BROWSER_FLAGS] }));
  }

  /** A tab with the session's page as far as its button. */
  async open(link: string, engine: "wasm" | "webgpu", name: string): Promise<Page> {
    const profile = this.#profiles.get(name) ?? this.#browser.newContext();
    this.#profiles.set(name, profile);
    const page = await (await profile).newPage();
    await page.goto(`${link}?engine=${engine}`);
    await page.locator(JOIN).waitFor();
    return page;
  }

  async start(link: string, name: string): Promise<FleetMember & { readonly page: Page }> {
    const page = await this.open(link, "wasm", name);
    const ended = new Promise<void>((resolve) => {
      page.once("crash", () => resolve());
      page.once("close", () => resolve());
    });
    const inspector = await page.context().newCDPSession(page);
    await page.locator(JOIN).click();
    return {
      page,
      ended,
      kill: async () => {
        // The renderer dies on the spot, and with it the reply to this message.
        inspector.send("Page.crash").catch(() => {});
        await ended;
        await page.close();
      },
    };
  }

  stop(): Promise<void> {
    return this.#browser.close();
  }
}
