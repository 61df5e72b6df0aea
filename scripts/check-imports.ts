/**
 * Arrows downwards only (docs/architecture.md): fails when a folder imports one that it may not know.
 */

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** What each folder may import besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  shared: [],
  coordinator: ["shared"],
  workers: ["coordinator", "shared"],
  client: ["shared"],
  cli: ["client", "workers", "shared", "scripts"],
};

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const IMPORT = /(?:from|import)\s*\(?\s*["'](\.{1,2}\/[^"']+)["']/g;
const broken: string[] = [];

for (const [folder, allowed] of Object.entries(MAY_IMPORT)) {
  for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !/\.(ts|js)$/.test(entry.name)) continue;
    const file = join(entry.parentPath, entry.name);
    for (const [, specifier] of readFileSync(file, "utf8").matchAll(IMPORT)) {
      const target = relative(root, resolve(dirname(file), specifier)).split("/")[0];
      if (target !== folder && !allowed.includes(target)) {
        broken.push(
          `${relative(root, file)} imports ${specifier}: ${folder} may import ${allowed.join(", ") || "nothing else"}`,
        );
      }
    }
  }
}

for (const line of broken) console.error(line);
if (broken.length > 0) process.exit(1);
console.log("imports: arrows point downwards");
