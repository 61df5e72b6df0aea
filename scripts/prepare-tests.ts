/** What the tests need besides npm's packages: a Chromium (installed by apt where that is possible) and what is served. */

import { BROWSER_HINT, ensureBrowser } from "../cli/browser.ts";
import { ensureBuilt } from "./build.ts";

const browser = await ensureBrowser((line) => console.log(line));
console.log(browser === null ? `no browser: tests that need one will fail; ${BROWSER_HINT}` : `browser: ${browser}`);
await ensureBuilt(() => console.log("building pages, workers and the Worker's bundle"));
