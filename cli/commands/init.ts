/** `commonweight init`: a session file and a table to begin with. */

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { createCommand } from "../arguments.ts";
import { DEFAULT_PORT } from "../coordinator.ts";
import { CliError, messageOf } from "../errors.ts";
import { STARTER } from "../starter.ts";
import { writeWhole } from "../state.ts";

function nextSteps(folder: string): string {
  return `${folder === "." ? "" : `\n  cd ${folder}\n`}
Train it here, in two browser tabs, from the data to the model:
  npx commonweight train session.ts

Or step by step. In one terminal, a coordinator that keeps running:
  npx commonweight dev
In another:
  npx commonweight dataset push moons --csv moons.csv --target moon --mine
  npx commonweight train session.ts --server http://127.0.0.1:${DEFAULT_PORT}
While it trains (the link is what train prints):
  npx commonweight watch
  npx commonweight volunteer <link>
And then:
  npx commonweight export -o moons.safetensors
  npx commonweight export --format csv -o metrics.csv`;
}

function init(folder: string, { force }: { readonly force: boolean }): void {
  const files = Object.entries(STARTER).map(([name, content]) => ({ path: join(folder, name), content }));
  const there = files.filter(({ path }) => existsSync(path)).map(({ path }) => path);
  if (there.length > 0 && !force) {
    throw new CliError(`${there.join(" and ")} would be overwritten: choose another folder, or say --force`);
  }
  try {
    mkdirSync(folder, { recursive: true });
    for (const { path, content } of files) {
      writeWhole(path, content());
      console.log(`wrote ${path}`);
    }
  } catch (error) {
    throw new CliError(`cannot write to ${folder}: ${messageOf(error)}`, { cause: error });
  }
  console.log(nextSteps(folder));
}

export function initCommand(): Command {
  const examples = ["init", "init moons", "init moons --force"];
  return createCommand(
    "init",
    "write a commented session file that trains as it is, and a small table for it",
    examples,
  )
    .argument("[folder]", "where to; made if it does not exist", ".")
    .option("--force", "overwrite what is there", false)
    .action(init);
}
