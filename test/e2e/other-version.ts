/**
 * This package as another version of it: a copy whose bundles say that they are of another build, or speak another version of the
 * protocol. Like a package that npm installed it is not built from its sources.
 */

import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../cli/root.ts";
import { KERNELS_BUILD } from "../../coordinator/optim/build.ts";
import { SUBPROTOCOL } from "../../shared/protocol/messages.ts";

const PARTS = ["bin", "cli", "client", "coordinator", "shared", "workers", "package.json", "build/worker"] as const;
const OTHER_BUILD = "0123456789abcdef";
export const NEWER_PROTOCOL = "commonweight.2";

/** What is another in it. */
export type Difference = "build" | "protocol";

const CHANGES = {
  build: [KERNELS_BUILD, OTHER_BUILD],
  protocol: [SUBPROTOCOL, NEWER_PROTOCOL],
} as const satisfies Record<Difference, readonly [string, string]>;

/** Copies it to a folder; answers that folder. What is built has to be there. */
export function makeVersion(folder: string, difference: Difference): string {
  mkdirSync(join(folder, "build"), { recursive: true });
  for (const part of PARTS) cpSync(join(packageRoot, part), join(folder, part), { recursive: true });
  mkdirSync(join(folder, "build/assets"));
  for (const name of readdirSync(join(packageRoot, "build/assets"))) {
    const [from, to] = [join(packageRoot, "build/assets", name), join(folder, "build/assets", name)];
    // onnxruntime is large, and the same.
    if (name === "ort") symlinkSync(from, to);
    else cpSync(from, to, { recursive: true });
  }
  symlinkSync(join(packageRoot, "node_modules"), join(folder, "node_modules"));
  const [from, to] = CHANGES[difference];
  let changed = 0;
  const texts = [
    "shared/protocol/messages.ts",
    "coordinator/optim/build.ts",
    "build/worker/index.js",
    ...readdirSync(join(folder, "build/assets/assets")).map((name) => `build/assets/assets/${name}`),
  ].filter((path) => /\.(ts|js)$/.test(path));
  for (const path of texts) {
    const text = readFileSync(join(folder, path), "utf8");
    if (!text.includes(from)) continue;
    writeFileSync(join(folder, path), text.replaceAll(from, to));
    changed += 1;
  }
  if (changed < 2) throw new Error(`${from} is in ${changed} files, expected the source and the bundle at least`);
  return folder;
}
