/** A real workerd with the measuring Worker, started as the command line starts its coordinator. */

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";
import { COMPATIBILITY } from "../../cli/coordinator.ts";
import { packageRoot } from "../../cli/root.ts";
import { Refusal } from "../harness/race.ts";
import { type Job, type JobAnswer, jobAddress } from "./worker/job.ts";

export interface BenchWorker {
  readonly port: number;
  run(job: Job): Promise<JobAnswer>;
  stop(): Promise<void>;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== "object" || address === null) throw new Refusal("unavailable", "no port is free");
  return address.port;
}

export async function startBenchWorker(): Promise<BenchWorker> {
  const folder = mkdtempSync(join(tmpdir(), "commonweight-bench-"));
  await build({
    entryPoints: [join(packageRoot, "bench/coordinator/worker/worker.ts")],
    outfile: join(folder, "worker.js"),
    bundle: true,
    format: "esm",
    target: "es2024",
    external: ["cloudflare:workers"],
    loader: { ".wasm": "copy" },
    logLevel: "error",
  });
  const port = await freePort();
  const wasm = readdirSync(folder).filter((name) => name.endsWith(".wasm"));
  const converted = convertV4MiniflareOptions({
    log: new Log(LogLevel.ERROR),
    telemetry: { enabled: false },
    cf: false,
    host: "127.0.0.1",
    port: 0,
    workers: [
      {
        name: "bench",
        modulesRoot: folder,
        modules: [
          { type: "ESModule", path: join(folder, "worker.js") },
          ...wasm.map((name) => ({ type: "CompiledWasm" as const, path: join(folder, name) })),
        ],
        compatibilityDate: COMPATIBILITY.date,
        compatibilityFlags: [...COMPATIBILITY.flags],
        durableObjects: { INGEST: { className: "Ingest", useSQLite: true } },
        unsafeDirectSockets: [{ host: "127.0.0.1", port }],
      },
    ],
  });
  const runtime = new Miniflare(converted);
  await runtime.ready;
  const base = `http://127.0.0.1:${port}`;
  return {
    port,
    async run(job) {
      const response = await fetch(jobAddress(base, job));
      if (!response.ok) throw new Refusal("failed", `the measuring Worker answered ${response.status}`);
      return (await response.json()) as JobAnswer;
    },
    async stop() {
      await runtime.dispose();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
