/** How a browser comes in: by the invitation in a link, and by the page of the check. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { BROWSER_FLAGS } from "../../cli/browser.ts";
import { linkOf, ownLinkOf } from "../../cli/invitation.ts";
import { joinTraining } from "../../client/node/index.ts";
import type { Access } from "../../shared/session/access.ts";
import { createSiteverify, TURNSTILE } from "../fixtures/siteverify.ts";
import { mnistSession, startTestCoordinator, type TestCoordinator } from "./coordinator.ts";
import { JOIN, requireBrowser } from "./fleets.ts";

const TIMEOUT = 60_000;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
declare const axe: { run(): Promise<{ readonly violations: readonly { readonly id: string }[] }> };
const CLOUDFLARE = "https://challenges.cloudflare.com";

/** In the page, before any of its scripts: writes down what is done there, and what the address is then. */
function watch(): void {
  const seen: [what: string, address: string][] = [];
  Object.assign(globalThis, { seen });
  const note = (what: string): void => void seen.push([what, location.href]);
  const before = (holder: object, name: string): void => {
    const original = Reflect.get(holder, name);
    Reflect.set(holder, name, function (this: unknown, ...args: unknown[]) {
      note(name);
      return Reflect.apply(original, this, args);
    });
  };
  before(history, "replaceState");
  before(customElements, "define");
  before(globalThis, "fetch");
  before(Storage.prototype, "getItem");
  before(Storage.prototype, "setItem");
  before(Document.prototype, "createElement");
  for (const name of ["Worker", "WebSocket"] as const) {
    const original = globalThis[name];
    Reflect.set(
      globalThis,
      name,
      new Proxy(original, {
        construct(target, args) {
          note(name);
          return Reflect.construct(target, args) as object;
        },
      }),
    );
  }
}

/** Stands in for Turnstile's script, which says what it was rendered for by a frame of its own host. A mock. */
const WIDGET_SCRIPT = `
  globalThis.turnstile = {
    render(place, options) {
      addEventListener("message", ({ origin, data }) => {
        if (origin === "${CLOUDFLARE}") options.callback(data);
      });
      const asked = { hostname: location.hostname, action: options.action, cdata: options.cData, key: options.sitekey };
      const frame = document.createElement("iframe");
      frame.src = "${CLOUDFLARE}/frame#" + encodeURIComponent(JSON.stringify({ ...asked, serial: Math.random() }));
      place.append(frame);
      return "widget";
    },
    reset() {},
  };
  onTurnstile();
`;
const WIDGET_FRAME = `<!doctype html><script>parent.postMessage(decodeURIComponent(location.hash.slice(1)), "*")</script>`;

async function playTurnstile(context: BrowserContext): Promise<void> {
  await context.route(`${CLOUDFLARE}/turnstile/**`, (route) =>
    route.fulfill({ contentType: "text/javascript", body: WIDGET_SCRIPT }),
  );
  await context.route(`${CLOUDFLARE}/frame`, (route) =>
    route.fulfill({ contentType: "text/html", body: WIDGET_FRAME }),
  );
}

describe("a browser at the door", () => {
  let coordinator: TestCoordinator;
  let browser: Browser;

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: requireBrowser(), args: [...BROWSER_FLAGS] });
    coordinator = await startTestCoordinator({ variables: TURNSTILE, outside: createSiteverify() });
  });
  afterAll(async () => {
    await browser?.close();
    await coordinator?.stop();
  });

  const create = async (access: Access): Promise<string> =>
    (await coordinator.api.createSession(mnistSession({ access, epochs: 1_000 }))).id;

  /** A tab that complains of nothing until the test ends. */
  async function openTab(): Promise<{ context: BrowserContext; page: Page }> {
    const context = await browser.newContext();
    const page = await context.newPage();
    const problems: string[] = [];
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => {
      if (/Content Security Policy|Cross-Origin/.test(message.text())) problems.push(message.text());
    });
    onTestFinished(async () => {
      await context.close();
      expect(problems).toEqual([]);
    });
    return { context, page };
  }

  /** Addresses that this tab can go back or forward to. */
  async function historyOf(page: Page): Promise<readonly string[]> {
    const session = await page.context().newCDPSession(page);
    const { entries } = await session.send("Page.getNavigationHistory");
    return entries.map(({ url }) => url);
  }

  const says = (page: Page, text: string): Promise<void> =>
    page.locator('[data-figure="state"]').getByText(text).waitFor({ timeout: TIMEOUT });

  it("has its invitation taken out of address, history and referrer before anything else, and takes part", async () => {
    const id = await create({ join: "invited", read: "invited" });
    const link = (await linkOf(coordinator.api, id)).replace("#", "?engine=wasm#");
    const [bare, token] = link.split("#join=");
    const { context, page } = await openTab();
    await page.addInitScript(watch);
    const showing: string[] = [];
    context.on("request", (request) => {
      const { authorization: _, ...others } = request.headers();
      if (JSON.stringify([request.url(), others]).includes(token)) showing.push(request.url());
    });
    page.on("websocket", (socket) => {
      if (socket.url().includes(token)) showing.push(socket.url());
    });

    await page.setContent(`<a href="${link}">Come and help</a>`);
    await page.getByText("Come and help").click();
    await says(page, "Waiting for volunteers");
    await page.locator(JOIN).click();
    await says(page, "Training, with your help");

    const seen = (await page.evaluate("seen")) as readonly [what: string, address: string][];
    expect(seen[0]).toEqual(["replaceState", link]);
    expect(seen.slice(1).map(([, address]) => address)).toEqual(seen.slice(1).map(() => bare));
    for (const what of ["define", "fetch", "Worker", "setItem"]) expect(seen.map(([name]) => name)).toContain(what);
    expect(page.url()).toBe(bare);
    expect(showing).toEqual([]);

    expect(await historyOf(page)).toEqual(["about:blank", bare]);

    // The page after it hears nothing, and the way back leads to the same page, which is invited still.
    await page.evaluate(() => location.assign("/bench"));
    await page.waitForURL("**/bench");
    expect(await page.evaluate(() => document.referrer)).toBe("");
    expect((await historyOf(page)).filter((url) => url.includes(token))).toEqual([]);
    await page.goBack();
    await page.locator(JOIN).click();
    await says(page, "Training, with your help");
    expect(page.url()).toBe(bare);
  });

  it("passes the check and is at work by one press of the button, and again when its token was taken back", async () => {
    const id = await create({ join: "checked", read: "open" });
    const { context, page } = await openTab();
    await playTurnstile(context);
    const asked: string[] = [];
    context.on("request", (request) => asked.push(request.url()));
    const bare = `${coordinator.url}/s/${id}?engine=wasm`;
    await page.goto(bare);
    await says(page, "Waiting for volunteers");
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
    // Nothing of Cloudflare's before somebody wants to take part.
    expect(asked.filter((url) => url.startsWith(CLOUDFLARE))).toEqual([]);

    await page.locator(JOIN).click();
    await says(page, "Training, with your help");
    expect(page.url()).toBe(bare);
    expect(asked).toContain(`${coordinator.url}/s/${id}/door?engine=wasm`);
    // Back does not lead to a check that was passed.
    expect(await historyOf(page)).toEqual(["about:blank", bare, bare]);
    expect(asked.filter((url) => url.startsWith(`${CLOUDFLARE}/frame`))).toHaveLength(1);

    await page.reload();
    await page.locator(JOIN).click();
    await says(page, "Training, with your help");
    expect(asked.filter((url) => url.startsWith(`${CLOUDFLARE}/frame`))).toHaveLength(1);

    await coordinator.api.revokeInvitations(id);
    await says(page, "Your check is no longer good");
    await page.locator(JOIN).click();
    await says(page, "Training, with your help");
    expect(asked.filter((url) => url.startsWith(`${CLOUDFLARE}/frame`))).toHaveLength(2);
  });

  it("is told why where the check cannot be had, and can try again or go back", async () => {
    const id = await create({ join: "checked", read: "open" });
    const { context, page } = await openTab();
    await context.route(`${CLOUDFLARE}/**`, (route) => route.abort());
    await page.goto(`${coordinator.url}/s/${id}/door`);
    await page.getByText("could not be loaded from challenges.cloudflare.com").waitFor({ timeout: TIMEOUT });
    await page.evaluate(AXE);
    expect(await page.evaluate(async () => (await axe.run()).violations.map(({ id }) => id))).toEqual([]);
    await context.unroute(`${CLOUDFLARE}/**`);
    await context.route(`${CLOUDFLARE}/turnstile/**`, (route) =>
      route.fulfill({
        contentType: "text/javascript",
        body: WIDGET_SCRIPT.replace("options.action", '"something else"'),
      }),
    );
    await context.route(`${CLOUDFLARE}/frame`, (route) =>
      route.fulfill({ contentType: "text/html", body: WIDGET_FRAME }),
    );
    await page.getByText("Try again").click();
    await page.getByText("this check was passed for something else").waitFor({ timeout: TIMEOUT });
    await page.getByText("Back to the session").click();
    await says(page, "Waiting for volunteers");
    expect(page.url()).toBe(`${coordinator.url}/s/${id}`);
  });

  it("has a check that programs pass by an invitation alone", async () => {
    const id = await create({ join: "checked", read: "open" });
    const shared = await linkOf(coordinator.api, id);
    expect(shared).toBe(`${coordinator.url}/s/${id}`);
    const options = { engine: "wasm", workers: 1 } as const;
    await expect(joinTraining(shared, options)).rejects.toMatchObject({
      code: "not-invited",
      message: expect.stringMatching(/open its link in a browser.*need an invitation/),
    });
    const volunteer = await joinTraining(await ownLinkOf(coordinator.api, id, shared), options);
    await volunteer.leave();
  });
});
