/** Tabs of headless Chromium in one session of a real local coordinator. */

import { BROWSER_FLAGS, BROWSER_HINT, findBrowser } from "../../cli/browser.ts";
import { Chromium, type Tab } from "../../cli/devtools.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import type { LocalCoordinator } from "../harness/local-coordinator.ts";
import { type PageServer, servePage } from "../harness/page-server.ts";
import { Refusal } from "../harness/race.ts";
import type { FreeRun } from "./page/free-run.ts";
import type { EndToEndTab } from "./page/tab.ts";

const PATIENCE = 120_000;
/** Steps after a standstill until all tabs' speeds are known again: whoever had the interrupted step's rest had both cores. */
const SETTLING = 8;

/** A path, or Refusal `unavailable`. */
export function requireBrowser(): string {
  const executable = findBrowser();
  if (executable === null) throw new Refusal("unavailable", `the end-to-end section needs a browser: ${BROWSER_HINT}`);
  return executable;
}

/** Chromium with the page that tabs open. */
export class TabHouse {
  readonly browser: Chromium;
  readonly page: PageServer;

  static async open(entries: Readonly<Record<string, string>>): Promise<TabHouse> {
    const executable = requireBrowser();
    const page = await servePage(entries);
    try {
      return new TabHouse(await Chromium.launch({ executable, flags: BROWSER_FLAGS }), page);
    } catch (error) {
      await page.stop();
      throw error;
    }
  }

  private constructor(browser: Chromium, page: PageServer) {
    this.browser = browser;
    this.page = page;
  }

  /** A tab in a profile of its own: volunteers elsewhere share no cache either. Open once `ready` is true there. */
  async tab(ready: string): Promise<Tab> {
    const tab = await (await this.browser.createProfile()).open(this.page.url);
    await tab.until(`document.readyState === "complete" && ${ready}`, PATIENCE, "the benchmark's script");
    return tab;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.browser.stop();
    await this.page.stop();
  }
}

export const OUR_PAGE = { tab: "bench/end-to-end/page/tab.ts" } as const;

const call = <T>(tab: Tab, method: keyof EndToEndTab, ...args: readonly unknown[]): Promise<T> =>
  tab.evaluate<T>(`tab.${method}(${args.map((arg) => JSON.stringify(arg)).join(", ")})`);

/** One stretch of training, by the coordinator's own record. */
export interface Stretch {
  /** Milliseconds from the word to go to the last step asked for, and a step by itself once work is divided by speed again. */
  readonly milliseconds: number;
  readonly stepMilliseconds: number;
  /** Done: as many as were asked for, and those that went on until the tabs were told. */
  readonly steps: number;
}

/** How tabs share this machine: together they have two threads that compute, as many as it has cores. */
export interface Sharing {
  readonly tabs: number;
  /** Of each. */
  readonly workers: number;
}

export const TWO_TABS: Sharing = { tabs: 2, workers: 1 };
export const ONE_TAB: Sharing = { tabs: 1, workers: 2 };

/** The tabs of one session, which stands still unless a stretch is asked for. */
export class TabGroup {
  readonly #coordinator: LocalCoordinator;
  readonly #id: string;
  readonly #tabs: readonly Tab[];
  /** Of each tab. */
  readonly #workers: number;
  #step = 0;

  /** New tabs in a new session. */
  static async open(
    house: TabHouse,
    coordinator: LocalCoordinator,
    definition: SessionDefinition,
    { tabs, workers }: Sharing,
  ): Promise<TabGroup> {
    const open = Array.from({ length: tabs }, () => house.tab("globalThis.tab !== undefined"));
    return TabGroup.#join(await Promise.all(open), workers, coordinator, definition);
  }

  static async #join(
    tabs: readonly Tab[],
    workers: number,
    coordinator: LocalCoordinator,
    definition: SessionDefinition,
  ): Promise<TabGroup> {
    const { id } = await coordinator.api.createSession(definition);
    await coordinator.api.control(id, "pause");
    const link = `${coordinator.url}/s/${id}`;
    await Promise.all(tabs.map((tab) => call(tab, "join", link, workers)));
    return new TabGroup(coordinator, id, tabs, workers);
  }

  /** The same tabs in another session: the data are in their memory by then, and code is compiled. */
  async move(definition: SessionDefinition): Promise<TabGroup> {
    const moved = await TabGroup.#join(this.#tabs, this.#workers, this.#coordinator, definition);
    await this.#coordinator.api.deleteSession(this.#id);
    return moved;
  }

  private constructor(coordinator: LocalCoordinator, id: string, tabs: readonly Tab[], workers: number) {
    this.#coordinator = coordinator;
    this.#id = id;
    this.#tabs = tabs;
    this.#workers = workers;
  }

  get step(): number {
    return this.#step;
  }

  /** With the pictures at these addresses, which are to be the session's. */
  async prepareFreeRun(images: string, labels: string): Promise<void> {
    const { url } = this.#coordinator;
    await Promise.all(this.#tabs.map((tab) => call(tab, "prepareFreeRun", url, this.#id, images, labels)));
  }

  /** Samples a millisecond of all tabs together, at once, each as fast as it goes. */
  async freeRun(milliseconds: number): Promise<number> {
    const runs = await Promise.all(this.#tabs.map((tab) => call<FreeRun>(tab, "freeRun", milliseconds)));
    return runs.reduce((sum, run) => sum + run.samples / run.milliseconds, 0);
  }

  /** Trains for so many steps, then pauses. */
  async train(steps: number): Promise<Stretch> {
    const { api } = this.#coordinator;
    const before = this.#step;
    const start = Date.now();
    await api.control(this.#id, "resume");
    await this.#tabs[0].until(`tab.step >= ${before + steps}`, PATIENCE, `step ${before + steps}`);
    await api.control(this.#id, "pause");
    const rows = (await api.readMetrics(this.#id, before)).steps;
    const last = rows.at(-1);
    if (last === undefined || rows.length < 2) throw new Refusal("failed", "fewer than two steps were recorded");
    this.#step = last.step;
    const settled = Math.min(SETTLING, rows.length - 2);
    return {
      milliseconds: (rows.find(({ step }) => step === before + steps) ?? last).time - start,
      stepMilliseconds: (last.time - rows[settled].time) / (rows.length - 1 - settled),
      steps: rows.length,
    };
  }

  /** Of the test's pictures, by the present weights. */
  async accuracy(images: string, labels: string): Promise<number> {
    const [tab] = this.#tabs;
    await tab.until(`tab.step >= ${this.#step}`, PATIENCE, `the weights of step ${this.#step}`);
    return call(tab, "accuracy", images, labels);
  }

  async close(): Promise<void> {
    await Promise.all(this.#tabs.map((tab) => call(tab, "leave")));
    await Promise.all(this.#tabs.map((tab) => tab.close()));
    await this.#coordinator.api.deleteSession(this.#id);
  }
}
