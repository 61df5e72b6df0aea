/**
 * `npm run audit:dependencies`: fails if a known vulnerability of high severity or worse is in what this package brings along. Where the registry
 * does not answer it says that nothing was audited, and passes.
 */

import { spawnSync } from "node:child_process";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { readAudit } from "./audit-report.ts";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
/** Milliseconds. */
const PATIENCE = 60_000;

const { stdout } = spawnSync("npm", ["audit", "--omit=dev", "--audit-level=high", "--json"], {
  cwd: root,
  encoding: "utf8",
  timeout: PATIENCE,
  // A report of many is long.
  maxBuffer: 64_000_000,
});
const audit = readAudit(stdout ?? "");
if (audit.outcome === "clean") console.log("dependencies: no known vulnerability of high severity");
else if (audit.outcome === "unanswered") console.log(`dependencies: NOT AUDITED, ${audit.reason}`);
else {
  console.log(`dependencies with known vulnerabilities: ${audit.packages.join(", ")}; npm audit --omit=dev says more`);
  process.exitCode = 1;
}
