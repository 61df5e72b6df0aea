/** Finds a Chromium, or installs one where that is possible. */

import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

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
    return true;
  } catch {
    return false;
  }
}

/** Path of a Chromium or Chrome: `CHROME_PATH`, the PATH, the usual places; null if there is none. */
export function findBrowser(): string | null {
  const given = process.env.CHROME_PATH;
  if (given !== undefined && given !== "") return isExecutable(given) ? given : null;
  const folders = [...(process.env.PATH ?? "").split(delimiter), ...PLACES];
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

function run(command: string, args: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: "ignore", env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } });
    child.once("error", () => resolve(false));
    child.once("exit", (code) => resolve(code === 0));
  });
}

/** A browser's path, installing Debian's chromium as root if there is none; null if that is not possible here. */
export async function ensureBrowser(say: (line: string) => void): Promise<string | null> {
  const found = findBrowser();
  if (found !== null) return found;
  const canInstall = process.getuid?.() === 0 && isExecutable("/usr/bin/apt-get");
  if (!canInstall) return null;
  say("no Chromium found: installing it with apt-get (a minute or two)");
  const start = performance.now();
  const progress = setInterval(
    () => say(`still installing Chromium, ${Math.round((performance.now() - start) / 1000)} s`),
    15_000,
  );
  try {
    await run("apt-get", ["update", "-qq"]);
    await run("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "chromium"]);
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
