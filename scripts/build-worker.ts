/**
 * Bundles the SDK's workers into source text that the package carries: the volunteer's worker (client/worker/inline.generated.js), the
 * same with onnxruntime-web's code (client/worker/alone.generated.js), and the ONNX pool's worker with it
 * (client/worker/pool.generated.js). All are loaded lazily, the last two only by volunteers that compute with WASM. Written only
 * when they change.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

const WORKERS = {
  "client/worker/inline.generated.js": "client/worker/browser.ts",
  "client/worker/alone.generated.js": "client/worker/alone.ts",
  "client/worker/pool.generated.js": "client/engine/onnx/worker-browser.ts",
} as const;

export type WorkerBundle = keyof typeof WORKERS;

/** One file of JavaScript without imports, a module: onnxruntime's code needs `import.meta`. */
export async function bundleWorker(name: WorkerBundle): Promise<string> {
  const entry = WORKERS[name];
  const result = await build({
    root,
    configFile: false,
    logLevel: "warn",
    publicDir: false,
    build: {
      write: false,
      target: "es2023",
      minify: true,
      modulePreload: false,
      // Nothing may become a file of its own: text has no address to load one from.
      assetsInlineLimit: 0,
      rolldownOptions: {
        input: join(root, entry),
        // onnxruntime's module asks for these where it runs in Node.
        external: ["module", "worker_threads"],
        output: { format: "es", codeSplitting: false, entryFileNames: "worker.js" },
      },
    },
  });
  const outputs = (Array.isArray(result) ? result : [result]).flatMap((bundle) =>
    "output" in bundle ? bundle.output : [],
  );
  // onnxruntime's `.wasm` is not loaded by address: the coordinator serves it, and its bytes are handed to the worker.
  const [chunk, ...others] = outputs.filter(({ fileName }) => !fileName.endsWith(".wasm"));
  if (chunk?.type !== "chunk" || others.length > 0 || chunk.imports.length > 0) {
    const names = outputs.map(({ fileName }) => fileName).join(", ");
    throw new Error(`${entry} must become one file without imports, not ${names}`);
  }
  return chunk.code;
}

export async function buildWorkers(): Promise<void> {
  for (const name of Object.keys(WORKERS) as WorkerBundle[]) {
    const text = `export default ${JSON.stringify(await bundleWorker(name))};\n`;
    const file = join(root, name);
    if (!existsSync(file) || readFileSync(file, "utf8") !== text) writeFileSync(file, text);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildWorkers();
