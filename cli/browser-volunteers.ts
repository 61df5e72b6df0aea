/** Volunteers in browser tabs, which press the page's own button as a person would. */

import type { Browser, Page } from "playwright-core";
import type { VolunteerEngine } from "./arguments.ts";
import { BROWSER_FLAGS } from "./browser.ts";
import { CliError, messageOf } from "./errors.ts";
import { Roster, type VolunteerOptions, type Volunteers } from "./volunteers.ts";

/** What the page shows (client/page/session.ts). */
const JOIN = '[data-action="join"]';
const CAN_JOIN = `${JOIN}:enabled`;
const STATUS = '[data-figure="status"]';
const ALARM = '[role="alert"]';

/** Milliseconds between two looks at a tab, and for its page to appear. */
const WATCH_INTERVAL = 500;
const LOAD_TIMEOUT = 60_000;

async function launch(executablePath: string): Promise<Browser> {
  try {
    const { chromium } = await import("playwright-core");
    return await chromium.launch({
      executablePath,
      headless: true,
      args: [...BROWSER_FLAGS],
      // Whoever interrupts this command wants it tidied up in order.
      handleSIGINT: false,
      handleSIGTERM: false,
      handleSIGHUP: false,
    });
  } catch (error) {
    throw new CliError(`${executablePath} does not start: ${messageOf(error).split("\n")[0]}`, { cause: error });
  }
}

/** Resolves with the reason once the page that joined takes part no longer; empty if the training is over. */
async function watchPage(page: Page): Promise<string> {
  let alarm = "";
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, WATCH_INTERVAL));
    const [alarms, statuses, canJoin] = await Promise.all([
      page.locator(ALARM).allTextContents(),
      page.locator(STATUS).allTextContents(),
      page.locator(CAN_JOIN).count(),
    ]);
    alarm = alarms[0]?.trim() || alarm;
    const status = statuses[0]?.trim() ?? "";
    if (status.startsWith("failed")) return status;
    if (status.startsWith("finished")) return "";
    // The invitation is back: what the page tried came to nothing.
    if (canJoin > 0) return alarm || "its page could not take part, and does not say why";
  }
}

/** Opens one tab a volunteer. Throws CliError if the browser does not start; a tab that fails is a volunteer that is gone. */
export async function startTabs(executablePath: string, { url, engines, say }: VolunteerOptions): Promise<Volunteers> {
  const browser = await launch(executablePath);
  const roster = new Roster(engines.length, say);
  browser.on("disconnected", () => {
    for (const index of engines.keys()) roster.end(index + 1, "the browser was closed");
  });
  const live = async (engine: VolunteerEngine, number: number): Promise<void> => {
    try {
      // A context each: volunteers elsewhere share no cache either.
      const page = await (await browser.newContext()).newPage();
      page.on("crash", () => roster.end(number, "its tab crashed"));
      page.on("close", () => roster.end(number, "its tab was closed"));
      page.on("pageerror", (error) => say(`volunteer ${number}'s page reports: ${error.message}`));
      await page.goto(`${url}?engine=${engine}`, { timeout: LOAD_TIMEOUT });
      await page.locator(JOIN).click({ timeout: LOAD_TIMEOUT });
      roster.end(number, await watchPage(page));
    } catch (error) {
      roster.end(number, messageOf(error).split("\n")[0] ?? "");
    }
  };
  for (const [index, engine] of engines.entries()) void live(engine, index + 1);
  return {
    started: engines.length,
    get alive() {
      return roster.alive;
    },
    get lastDeath() {
      return roster.lastDeath;
    },
    stop: async () => {
      roster.dismiss();
      await browser.close();
    },
  };
}
