/** Volunteers in browser tabs, which press the page's own button as a person would. */

import { CIRCUMSTANCES } from "../client/core/governor.ts";
import type { VolunteerEngine } from "./arguments.ts";
import { BROWSER_FLAGS } from "./browser.ts";
import { Chromium, type Tab } from "./devtools.ts";
import { messageOf } from "./errors.ts";
import { Roster, type VolunteerOptions, type Volunteers } from "./volunteers.ts";

/** What the page shows (client/page/session.ts). */
const JOIN = '[data-action="join"]';
const CAN_JOIN = `${JOIN}:enabled`;
const STATUS = '[data-figure="status"]';
const ALARM = '[role="alert"]';

/** Milliseconds between two looks at a tab, and for its page to appear. */
const WATCH_INTERVAL = 500;
const LOAD_TIMEOUT = 60_000;

/** What the page shows, as an expression for it. */
const LOOK = `({
  alarm: document.querySelector(${JSON.stringify(ALARM)})?.textContent.trim() ?? "",
  status: document.querySelector(${JSON.stringify(STATUS)})?.textContent.trim() ?? "",
  canJoin: document.querySelector(${JSON.stringify(CAN_JOIN)}) !== null,
})`;

/**
 * Whoever started the training wants it done: these tabs neither rest nor pause for a battery or a busy machine. False
 * while the page has not joined yet.
 */
const INSIST = `(() => {
  const { handle } = document.querySelector("commonweight-page");
  handle?.setPolicies(${JSON.stringify(Object.fromEntries(CIRCUMSTANCES.map((name) => [name, "continue"])))});
  return handle !== null;
})()`;

/** Resolves with the reason once the page that joined takes part no longer; empty if the training is over. */
async function watchPage(tab: Tab): Promise<string> {
  let lastAlarm = "";
  let hasInsisted = false;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, WATCH_INTERVAL));
    const { alarm, status, canJoin } = await tab.evaluate<{ alarm: string; status: string; canJoin: boolean }>(LOOK);
    lastAlarm = alarm || lastAlarm;
    if (!hasInsisted) hasInsisted = await tab.evaluate<boolean>(INSIST);
    if (status.startsWith("failed")) return status;
    if (status.startsWith("finished")) return "";
    // The invitation is back: what the page tried came to nothing.
    if (canJoin) return lastAlarm || "its page could not take part, and does not say why";
  }
}

/** The page's address with what the volunteer is to do; an invitation stays at its end. */
function withSettings(url: string, engine: VolunteerEngine): string {
  const address = new URL(url);
  address.search = `engine=${engine}&share=100`;
  return address.href;
}

/** Opens one tab a volunteer. Throws CliError if the browser does not start; a tab that fails is a volunteer that is gone. */
export async function startTabs(executable: string, { url, engines, say }: VolunteerOptions): Promise<Volunteers> {
  const browser = await Chromium.launch({ executable, flags: BROWSER_FLAGS });
  const roster = new Roster(engines.length, say);
  void browser.closed.then(() => {
    for (const index of engines.keys()) roster.end(index + 1, "the browser was closed");
  });
  const live = async (engine: VolunteerEngine, number: number): Promise<void> => {
    try {
      // A profile each: volunteers elsewhere share no cache either.
      const tab = await (await browser.createProfile()).open(withSettings(url, engine));
      void tab.gone.then((reason) => roster.end(number, reason));
      tab.onError((message) => say(`volunteer ${number}'s page reports: ${message}`));
      await tab.click(JOIN, LOAD_TIMEOUT);
      roster.end(number, await watchPage(tab));
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
      await browser.stop();
    },
  };
}
