/**
 * `npm run build`: everything that is served, bundled or published. The parts that the command line and the tests need are
 * rebuilt only when a source changed (`ensureBuilt`).
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPages } from "./build-pages.ts";
import { buildWorkers } from "./build-worker.ts";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const stamp = join(root, "build/stamp");
const SOURCES = ["shared", "coordinator", "workers", "client", "scripts", "wrangler.toml", "package-lock.json"];
/** Folders that are compiled into dist/, each with its own runtime's types. */
const PUBLISHED = ["client", "client/node", "cli"];

function* filesIn(path: string): Generator<string> {
  const entries = readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const full = join(path, entry.name);
    if (entry.isDirectory()) yield* filesIn(full);
    else if (!entry.name.includes(".generated.js")) yield full;
  }
}

function hashSources(): string {
  const hash = createHash("sha256");
  for (const source of SOURCES) {
    const path = join(root, source);
    for (const file of /\.\w+$/.test(source) ? [path] : filesIn(path)) {
      hash.update(relative(root, file)).update("\0").update(readFileSync(file)).update("\0");
    }
  }
  return hash.digest("hex");
}

/** Runs a tool of node_modules under this very Node; its output is shown only if it fails. */
function run(tool: string, ...args: string[]): void {
  const path = `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ""}`;
  const env = { ...process.env, PATH: path, WRANGLER_SEND_METRICS: "false", CI: "1" };
  const { status, stdout, stderr } = spawnSync(join(root, "node_modules/.bin", tool), args, {
    cwd: root,
    encoding: "utf8",
    env,
  });
  if (status !== 0) throw new Error(`${tool} ${args.join(" ")} failed:\n${stdout}${stderr}`);
}

/** The Worker as it is deployed: what `wrangler deploy` would upload. */
function bundleWorker(): void {
  run("wrangler", "deploy", "--dry-run", "--outdir", "build/worker");
}

/** Assets, the SDK's workers and the Worker's bundle, if any source changed since they were built. */
export async function ensureBuilt(onStart: () => void = () => {}): Promise<void> {
  const hash = hashSources();
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return;
  onStart();
  rmSync(stamp, { force: true });
  await buildWorkers();
  await buildPages();
  rmSync(join(root, "build/worker"), { recursive: true, force: true });
  bundleWorker();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, hash);
}

/** JavaScript and declarations for npm. */
function compilePackage(): void {
  rmSync(join(root, "dist"), { recursive: true, force: true });
  const options = [
    "--noEmit",
    "false",
    "--declaration",
    "--rewriteRelativeImportExtensions",
    "--outDir",
    "dist",
    "--rootDir",
    ".",
  ];
  for (const project of PUBLISHED) run("tsc", "-p", `${project}/tsconfig.json`, ...options);
  // The command line's project also checks these; they are not published.
  for (const folder of ["scripts", "examples", "test", "bench"])
    rmSync(join(root, "dist", folder), { recursive: true, force: true });
  for (const name of ["inline", "pool"]) {
    copyFileSync(
      join(root, `client/worker/${name}.generated.js`),
      join(root, `dist/client/worker/${name}.generated.js`),
    );
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await ensureBuilt(() => console.log("building pages, workers and the Worker's bundle"));
  compilePackage();
  console.log("built: build/assets, build/worker, dist");
}
