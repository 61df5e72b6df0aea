#!/usr/bin/env node
/**
 * The command. In the repository it runs the TypeScript sources, which needs Node 22.18 or newer; when published it runs
 * the compiled ones. Under an older Node it goes on in the one that the npm package `node` brought along, if it is there.
 */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const [major, minor] = process.versions.node.split(".").map(Number);

/** The Node of the npm package `node`, or null. */
function findNode() {
  try {
    const folder = dirname(createRequire(import.meta.url).resolve("node/package.json"));
    return [join(folder, "bin/node"), join(folder, "bin/node.exe")].find((path) => existsSync(path)) ?? null;
  } catch {
    return null;
  }
}

if (major > 22 || (major === 22 && minor >= 18)) {
  const sources = new URL("../cli/main.ts", import.meta.url);
  const compiled = new URL("../dist/cli/main.js", import.meta.url);
  const { main } = await import((existsSync(sources) ? sources : compiled).href);
  process.exit(await main(process.argv.slice(2)));
}
const node = findNode();
if (node === null) {
  console.error(
    `commonweight needs Node 22.18 or newer, this is ${process.versions.node}: install it, or npm install node@24`,
  );
  process.exit(1);
}
const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => process.exit(code ?? (signal === null ? 1 : 128)));
