/** Somebody else's web site: a static server on an origin of its own, and a browser that notes all that a page loads. */

import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import type { Browser, Page, Request } from "playwright-core";

/** How a site is served, by the headers of all its files. `coordinator` is an origin. */
export const HOSTINGS = {
  plain: () => ({}),
  isolated: () => ({
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
  }),
  strict: (coordinator: string) => ({
    "Content-Security-Policy": [
      "default-src 'none'",
      "script-src 'self' 'wasm-unsafe-eval'",
      "worker-src blob:",
      `connect-src ${coordinator} ${coordinator.replace(/^http/, "ws")}`,
    ].join("; "),
  }),
} as const satisfies Record<string, (coordinator: string) => Readonly<Record<string, string>>>;

export type Hosting = keyof typeof HOSTINGS;

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
};

export interface Site {
  readonly url: string;
  stop(): Promise<void>;
}

/** Serves a folder on any free port of this machine. */
export async function serveSite(folder: string, hosting: Hosting, coordinator: string): Promise<Site> {
  const headers = HOSTINGS[hosting](new URL(coordinator).origin);
  const server: Server = createServer((request, response) => {
    if (request.url === "/favicon.ico") {
      response.writeHead(204, headers).end();
      return;
    }
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://site").pathname));
    const file = join(folder, path.endsWith("/") ? `${path}index.html` : path);
    if (!existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404, headers).end();
      return;
    }
    response.writeHead(200, { ...headers, "Content-Type": CONTENT_TYPES[extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export interface Loaded {
  readonly url: string;
  /** As the server declares it. */
  readonly type: string;
  /** Whether the browser took it as code. */
  readonly isScript: boolean;
  readonly bytes: number;
}

export interface Visit {
  readonly page: Page;
  /** Errors of its console, refusals by its policy among them. */
  readonly complaints: readonly string[];
  /** What the page and its workers have loaded so far. */
  loaded(): Promise<readonly Loaded[]>;
  close(): Promise<void>;
}

async function describe(request: Request): Promise<Loaded> {
  const [response, sizes] = await Promise.all([request.response(), request.sizes()]);
  const type = (await response?.headerValue("content-type")) ?? "";
  return { url: request.url(), type, isScript: request.resourceType() === "script", bytes: sizes.responseBodySize };
}

/** Opens an address in a profile of its own: nothing is cached. */
export async function visit(browser: Browser, url: string): Promise<Visit> {
  const context = await browser.newContext();
  const requests: Request[] = [];
  const complaints: string[] = [];
  context.on("requestfinished", (request) => requests.push(request));
  const page = await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(url);
  return { page, complaints, loaded: () => Promise.all(requests.map(describe)), close: () => context.close() };
}
