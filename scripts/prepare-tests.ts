/** What the tests need besides npm's packages: a Chromium (installed by apt where that is possible) and the package as it is published. */

import { BROWSER_HINT, ensureBrowser } from "../cli/browser.ts";
import { ensurePackage } from "./build.ts";

const browser = await ensureBrowser((line) => console.log(line));
console.log(browser === null ? `no browser: tests that need one will fail; ${BROWSER_HINT}` : `browser: ${browser}`);
await ensurePackage(() => console.log("building pages, workers, the Worker's bundle and the package"));
