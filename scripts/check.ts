/**
 * `npm run check`: types of every runtime, lint and format, the downward-imports rule, and the committed WASM kernels
 * against a rebuild from their sources. Runs them all and ends with a non-zero code if any failed.
 */

import { spawnSync } from "node:child_process";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const bin = join(root, "node_modules/.bin");

const PROJECTS = [
  "shared",
  "coordinator",
  "workers",
  "client",
  "client/node",
  "cli",
  "test",
  "test/simulation",
  "test/workers",
  "bench/coordinator/worker",
];

const CHECKS: readonly (readonly [name: string, command: string, ...args: string[]])[] = [
  ...PROJECTS.map((project) => [`types of ${project}`, join(bin, "tsc"), "-p", `${project}/tsconfig.json`] as const),
  ["lint and format", join(bin, "biome"), "check", "--error-on-warnings", "."],
  ["imports", process.execPath, "scripts/check-imports.ts"],
  ["kernels", process.execPath, "scripts/build-kernels.ts", "--check"],
];

let failed = 0;
for (const [name, command, ...args] of CHECKS) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: "utf8" });
  console.log(`${status === 0 ? "ok    " : "FAILED"}  ${name}`);
  if (status === 0) continue;
  failed += 1;
  console.log([stdout, stderr, error?.message].filter(Boolean).join("\n"));
}
if (failed > 0) process.exit(1);
