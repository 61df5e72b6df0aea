/** Installs what is compared with, into a folder of its own: nobody but the benchmarks needs it. */

import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../cli/root.ts";
import { Refusal } from "./race.ts";

const FOLDER = join(packageRoot, "bench/rivals");
const LOCKFILE = join(FOLDER, "package-lock.json");
/** The lockfile that node_modules was made of. */
const STAMP = join(FOLDER, "node_modules/.installed");

/** Makes sure that the rivals of the lockfile are there. Throws Refusal `unavailable` if npm cannot install them. */
export async function installRivals(say: (line: string) => void): Promise<void> {
  const lockfile = readFileSync(LOCKFILE, "utf8");
  if (existsSync(STAMP) && readFileSync(STAMP, "utf8") === lockfile) return;
  say("installing the rivals into bench/rivals (npm ci; about a minute the first time)");
  const args = ["ci", "--prefix", FOLDER, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"];
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn("npm", args, { stdio: ["ignore", 2, 2] });
    child.once("error", reject);
    child.once("exit", resolve);
  });
  if (code !== 0) {
    throw new Refusal("unavailable", `npm ci in bench/rivals ended with ${code}: run with --no-rivals for ours alone`);
  }
  writeFileSync(STAMP, lockfile);
}
