/**
 * `npm run build`: everything that is served, bundled or published, each rebuilt only when a source changed. The command
 * line needs what is served and bundled (`ensureBuilt`), the tests the package too.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { buildElement } from "./build-element.ts";
import { buildPages } from "./build-pages.ts";
import { buildWorkers } from "./build-worker.ts";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
/** What is served and bundled is made of these, and the published package of some more. */
const SOURCES = [
  "shared",
  "coordinator",
  "workers",
  "client",
  "bench/page",
  "bench/engine",
  "bench/harness",
  "scripts",
  "package.json",
  "package-lock.json",
  "wrangler.toml",
];
const PACKAGE_SOURCES = [...SOURCES, "cli", "bin"];
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

function hashOf(sources: readonly string[]): string {
  const hash = createHash("sha256");
  for (const source of sources) {
    const path = join(root, source);
    for (const file of /\.\w+$/.test(source) ? [path] : filesIn(path)) {
      hash.update(relative(root, file)).update("\0").update(readFileSync(file)).update("\0");
    }
  }
  return hash.digest("hex");
}

interface Product {
  /** Folder that it is in. */
  readonly folder: string;
  /** File in build/ that says from which state of the sources it was made. */
  readonly stamp: string;
  readonly sources: readonly string[];
}

/** Makes what is not there, or was made of other sources. */
async function ensure({ folder, stamp, sources }: Product, make: () => Promise<void>): Promise<void> {
  const file = join(root, "build", stamp);
  const hash = hashOf(sources);
  if (existsSync(join(root, folder)) && existsSync(file) && readFileSync(file, "utf8") === hash) return;
  rmSync(file, { force: true });
  await make();
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, hash);
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
export function ensureBuilt(onStart: () => void = () => {}): Promise<void> {
  return ensure({ folder: "build/assets", stamp: "stamp", sources: SOURCES }, async () => {
    onStart();
    await buildWorkers();
    await buildPages();
    rmSync(join(root, "build/worker"), { recursive: true, force: true });
    bundleWorker();
  });
}

/** All that is published, if any source changed since it was built. */
export async function ensurePackage(onStart: () => void = () => {}): Promise<void> {
  await ensureBuilt(onStart);
  await ensure({ folder: "dist", stamp: "package-stamp", sources: PACKAGE_SOURCES }, compilePackage);
}

/** What is carried along inside other files, and so is no dependency of the published package. */
const BUNDLED = ["hono", "jose", "lit", "msgpackr", "onnxruntime-web", "uplot", "valibot"];

/** Licences ask for their text wherever the code goes. */
function writeNotices(): void {
  const notices = BUNDLED.map((name) => {
    const folder = join(root, "node_modules", name);
    const { version, license, author } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? `Licensed under ${license}.` : readFileSync(join(folder, file), "utf8").trim();
    return `${name} ${version} (${license}) by ${author?.name ?? author ?? "its authors"}\n\n${text}\n`;
  });
  writeFileSync(join(root, "dist/THIRD-PARTY.txt"), notices.join(`\n${"-".repeat(80)}\n\n`));
}

/** The code of onnxruntime-web, of which the package does without the rest; its `.wasm` is among the assets already. */
function carryRuntime(): void {
  const code = fileURLToPath(import.meta.resolve("onnxruntime-web/ort-wasm-simd-threaded.mjs"));
  copyFileSync(code, join(root, "dist/client/engine/onnx/ort.js"));
}

/** JavaScript and declarations for npm. */
async function compilePackage(): Promise<void> {
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
  // The command line's project also checks the first four; the page is served from build/assets, bundled.
  for (const folder of ["scripts", "examples", "test", "bench", "client/page", "client/door"])
    rmSync(join(root, "dist", folder), { recursive: true, force: true });
  for (const name of ["inline", "alone", "pool"]) {
    copyFileSync(
      join(root, `client/worker/${name}.generated.js`),
      join(root, `dist/client/worker/${name}.generated.js`),
    );
  }
  carryRuntime();
  await buildElement();
  writeNotices();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await ensurePackage(() => console.log("building pages, workers and the Worker's bundle"));
  console.log("built: build/assets, build/worker, dist");
}
