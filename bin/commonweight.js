#!/usr/bin/env node
/**
 * The command. In the repository it runs the TypeScript sources, which needs Node 22.18 or newer (24 comes as the dev
 * dependency `node`); when published it runs the compiled ones.
 */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const sources = join(root, "cli/main.ts");
const [major, minor] = process.versions.node.split(".").map(Number);
const isNew = major > 22 || (major === 22 && minor >= 18);
const bundled = join(root, "node_modules/node/bin/node");

if (isNew) {
  const { main } = await import(existsSync(sources) ? sources : join(root, "dist/cli/main.js"));
  await main(process.argv.slice(2));
} else if (existsSync(bundled)) {
  const { status } = spawnSync(bundled, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: "inherit",
  });
  process.exitCode = status ?? 1;
} else {
  console.error(`commonweight needs Node 22.18 or newer, this is ${process.versions.node}`);
  process.exitCode = 1;
}
