/**
 * A page of the benchmarks' own: bundled by Vite, served on this machine alone, isolated as threads and fine clocks need it.
 * Nothing of the page but its scripts: it is driven from outside.
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build, preview } from "vite";
import { packageRoot } from "../../cli/root.ts";
import { buildWorkers } from "../../scripts/build-worker.ts";

/** Threads and fine clocks need isolation; both headers say that nothing of others is here. */
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cache-Control": "no-store",
};

const pageOf = (scripts: readonly string[]): string => `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>bench</title><link rel="icon" href="data:,">
${scripts.map((name) => `<script type="module" src="/${name}.js"></script>`).join("\n")}
</html>
`;

export interface PageServer {
  readonly url: string;
  /** What is put here is served, too. */
  readonly folder: string;
  stop(): Promise<void>;
}

/** `entries`: paths from the repository's root by the names under which the page loads them, in this order. */
export async function servePage(entries: Readonly<Record<string, string>>): Promise<PageServer> {
  const folder = mkdtempSync(join(tmpdir(), "commonweight-bench-"));
  await buildWorkers();
  await build({
    root: packageRoot,
    configFile: false,
    logLevel: "error",
    publicDir: false,
    worker: { format: "es" },
    build: {
      outDir: folder,
      target: "es2023",
      minify: true,
      modulePreload: false,
      assetsInlineLimit: 0,
      rolldownOptions: {
        input: Object.fromEntries(Object.entries(entries).map(([name, path]) => [name, join(packageRoot, path)])),
        output: { entryFileNames: "[name].js" },
      },
    },
  });
  writeFileSync(join(folder, "index.html"), pageOf(Object.keys(entries)));
  const server = await preview({
    root: packageRoot,
    configFile: false,
    logLevel: "error",
    build: { outDir: folder },
    preview: { host: "127.0.0.1", headers: HEADERS },
  });
  const [url] = server.resolvedUrls?.local ?? [];
  return {
    url,
    folder,
    async stop() {
      await server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
