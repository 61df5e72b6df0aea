/**
 * Bundles the custom element with all of the SDK into one file, for pages without a bundler:
 * `<script type="module" src="commonweight-element.js">`. Applications that have one import `commonweight/element`, which loads
 * the engines' code only when they are wanted.
 */

import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

export const ELEMENT_FILE = "dist/commonweight-element.js";

/** Needs the workers' source text (scripts/build-worker.ts). */
export async function buildElement(): Promise<void> {
  await build({
    root,
    configFile: false,
    logLevel: "warn",
    publicDir: false,
    // All is in one file: of the two workers that differ in onnxruntime's code alone it has the one.
    resolve: { alias: [{ find: /\/inline\.generated\.js$/, replacement: "/alone.generated.js" }] },
    build: {
      outDir: join(root, dirname(ELEMENT_FILE)),
      emptyOutDir: false,
      target: "es2023",
      minify: true,
      modulePreload: false,
      rolldownOptions: {
        input: join(root, "client/element/index.ts"),
        // Without it the entry's exports are dropped as nobody's.
        preserveEntrySignatures: "strict",
        output: { format: "es", codeSplitting: false, entryFileNames: "commonweight-element.js" },
      },
    },
  });
}
