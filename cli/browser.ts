/** Finds a Chromium, or installs one where that is possible. */

import { spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { CliError } from "./errors.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "microsoft-edge"];

const PLACES = [
  "/usr/bin",
  "/usr/local/bin",
  "/snap/bin",
  "/opt/google/chrome",
  "/Applications/Google Chrome.app/Contents/MacOS",
  "/Applications/Chromium.app/Contents/MacOS",
  "C:\\Program Files\\Google\\Chrome\\Application",
];

const FILES = [...NAMES, "Google Chrome", "Chromium", "chrome.exe"];

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * Path of a Chromium or Chrome: `CHROME_PATH`, the PATH, the usual places; null if there is none. Throws CliError if
 * `CHROME_PATH` is set and leads nowhere.
 */
export function findBrowser(
  environment: Readonly<Record<string, string | undefined>> = process.env,
  places: readonly string[] = PLACES,
): string | null {
  const given = environment.CHROME_PATH ?? "";
  if (given !== "") {
    if (!isExecutable(given)) throw new CliError(`CHROME_PATH is ${given}, which is no file that can be run`);
    return given;
  }
  const folders = [...(environment.PATH ?? "").split(delimiter), ...places];
  for (const name of FILES) {
    for (const folder of folders) {
      const path = join(folder, name);
      if (folder !== "" && isExecutable(path)) return path;
    }
  }
  return null;
}

export const BROWSER_HINT =
  "install Chromium or Chrome (Debian and Ubuntu: sudo apt-get install chromium), or set CHROME_PATH to one";

/** Runs apt-get, calling back with each line it says. Resolves with the last error line, or null if it succeeded. */
function runApt(args: readonly string[], onLine: (line: string) => void): Promise<string | null> {
  return new Promise((resolve) => {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };
    const child = spawn("apt-get", args, { stdio: ["ignore", "pipe", "pipe"], env });
    let complaint = "";
    createInterface(child.stdout).on("line", onLine);
    createInterface(child.stderr).on("line", (line) => {
      if (line.startsWith("E:")) complaint = line;
    });
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code) => resolve(code === 0 ? null : complaint || `apt-get ended with ${code}`));
  });
}

/** Milliseconds between two lines about an installation. */
const PROGRESS_INTERVAL = 5_000;

/** A browser's path, installing Debian's chromium as root if there is none; null if that is not possible here. */
export async function ensureBrowser(say: (line: string) => void): Promise<string | null> {
  const found = findBrowser();
  if (found !== null) return found;
  const canInstall = process.getuid?.() === 0 && isExecutable("/usr/bin/apt-get");
  if (!canInstall) return null;
  say("no Chromium found: installing Debian's with apt-get (a minute or two)");
  const start = performance.now();
  let last = "apt-get update";
  const note = (line: string): void => {
    last = line.trim().slice(0, 80) || last;
  };
  const progress = setInterval(
    () => say(`  ${Math.round((performance.now() - start) / 1000)} s: ${last}`),
    PROGRESS_INTERVAL,
  );
  try {
    // Where the lists cannot be had anew, those at hand may do.
    const update = await runApt(["update"], note);
    const problem = await runApt(["install", "-y", "--no-install-recommends", "chromium"], note);
    if (problem !== null) say(`Chromium could not be installed: ${problem}${update === null ? "" : ` (${update})`}`);
  } finally {
    clearInterval(progress);
  }
  return findBrowser();
}

/** Flags for headless tabs that compute: WebGPU on, nothing that phones home or slows hidden pages down. */
export const BROWSER_FLAGS: readonly string[] = [
  "--enable-unsafe-webgpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
  ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
];
