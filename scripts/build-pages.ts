/**
 * Builds what the edge serves as static assets into build/assets: the pages (Vite) and onnxruntime's `.wasm`,
 * which volunteers fetch only when they compute with it.
 */

import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const assets = join(root, "build/assets");

/** Headers of static assets: the Worker sets the same for what it answers itself. */
const HEADERS = `/*
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp
  Cross-Origin-Resource-Policy: cross-origin
  Referrer-Policy: no-referrer
  X-Content-Type-Options: nosniff
/assets/*
  Cache-Control: public, max-age=31536000, immutable
/ort/*
  Access-Control-Allow-Origin: *
  Cache-Control: public, max-age=86400
`;

/** Every page, by the folder that it is in: its HTML goes to the root of the assets. */
const PAGES = { "client/page": "session.html", "client/door": "door.html", "bench/page": "bench.html" } as const;

export async function buildPages(): Promise<void> {
  rmSync(assets, { recursive: true, force: true });
  for (const [folder, page] of Object.entries(PAGES)) {
    await build({
      root: join(root, folder),
      configFile: false,
      logLevel: "warn",
      worker: { format: "es" },
      build: {
        outDir: assets,
        emptyOutDir: false,
        target: "es2023",
        // Browsers of that age have it, and it would run before anything of the page.
        modulePreload: { polyfill: false },
        rolldownOptions: { input: join(root, folder, page) },
      },
    });
  }
  const runtime = dirname(createRequire(import.meta.url).resolve("onnxruntime-web/wasm"));
  mkdirSync(join(assets, "ort"), { recursive: true });
  copyFileSync(join(runtime, "ort-wasm-simd-threaded.wasm"), join(assets, "ort/ort-wasm-simd-threaded.wasm"));
  writeFileSync(join(assets, "_headers"), HEADERS);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildPages();
