/** Where the package lies: the repository, or what npm installed. */

import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** The folder with package.json, from cli/ or dist/cli/. */
export const packageRoot = existsSync(join(here, "../package.json")) ? resolve(here, "..") : resolve(here, "../..");

/** In the repository the sources are at hand and what is built may be older than they are. */
export const isRepository = existsSync(join(packageRoot, "scripts/build.ts"));
