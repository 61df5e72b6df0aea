/**
 * The local coordinator: the deployed Worker's own bundle in workerd, by Miniflare, with its storage in the state folder.
 * Clients reach workerd directly, because Miniflare's front door would negotiate permessage-deflate, which triples a step.
 */

import { createReadStream, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { extname, join, normalize } from "node:path";
import { Readable } from "node:stream";
import { CliError, messageOf } from "./errors.ts";
import { isRepository, packageRoot } from "./root.ts";
import type { StateFolder } from "./state.ts";

export interface Coordinator {
  readonly url: string;
  readonly stop: () => Promise<void>;
}

export interface CoordinatorOptions {
  readonly state: StateFolder;
  /** Wanted port; another one is taken, and said, if it is not free. Undefined: the one of last time. */
  readonly port?: number | undefined;
  readonly host?: string;
  readonly say: (line: string) => void;
}

const DEFAULT_PORT = 8787;

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".wasm": "application/wasm",
};

/** Whether `port` can be listened on; 0 asks for any. Answers the port. */
function tryPort(host: string, port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(null));
    server.listen(port, host, () => {
      const address = server.address();
      const found = typeof address === "object" && address !== null ? address.port : null;
      server.close(() => resolve(found));
    });
  });
}

async function choosePort({ state, port, host = "127.0.0.1", say }: CoordinatorOptions): Promise<number> {
  const file = join(state.path, "port");
  const last = existsSync(file) ? Number(readFileSync(file, "utf8")) : 0;
  const wanted = port ?? (last > 0 ? last : DEFAULT_PORT);
  const chosen = (await tryPort(host, wanted)) ?? (await tryPort(host, 0));
  if (chosen === null) throw new CliError(`no port is free on ${host}`);
  if (chosen !== wanted && wanted !== 0) say(`port ${wanted} is taken: using ${chosen}`);
  writeFileSync(file, String(chosen));
  return chosen;
}

/** Modules of the bundle that `wrangler deploy` would upload: the entry first. */
function readBundle(): { type: "ESModule" | "CompiledWasm"; path: string }[] {
  const folder = join(packageRoot, "build/worker");
  const wasm = readdirSync(folder).filter((name) => name.endsWith(".wasm"));
  return [
    { type: "ESModule", path: join(folder, "index.js") },
    ...wasm.map((name) => ({ type: "CompiledWasm" as const, path: join(folder, name) })),
  ];
}

/** Stands in for Cloudflare's static assets, which answer the same binding where this is deployed. */
function serveAsset(url: string): Response {
  const folder = join(packageRoot, "build/assets");
  const file = normalize(join(folder, decodeURIComponent(new URL(url).pathname)));
  if (!file.startsWith(folder) || !existsSync(file) || !statSync(file).isFile())
    return new Response("not found", { status: 404 });
  return new Response(Readable.toWeb(createReadStream(file)) as ReadableStream<Uint8Array<ArrayBuffer>>, {
    headers: {
      "Content-Type": CONTENT_TYPES[extname(file)] ?? "application/octet-stream",
      "Content-Length": String(statSync(file).size),
      "Cross-Origin-Resource-Policy": "cross-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
    },
  });
}

/** In the repository: builds what is older than its sources. */
export async function prepareBundle(say: (line: string) => void): Promise<void> {
  if (!isRepository) return;
  const { ensureBuilt } = await import("../scripts/build.ts");
  await ensureBuilt(() => say("building the coordinator and the page (once)"));
}

export async function startCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { state, host = "127.0.0.1", say } = options;
  await prepareBundle(say);
  let miniflare: typeof import("miniflare");
  try {
    miniflare = await import("miniflare");
  } catch (cause) {
    throw new CliError("a local coordinator needs the package miniflare: npm install miniflare", { cause });
  }
  const port = await choosePort(options);
  const { Miniflare, convertV4MiniflareOptions, Log, LogLevel } = miniflare;
  const converted = convertV4MiniflareOptions({
    log: new Log(LogLevel.ERROR),
    telemetry: { enabled: false },
    cf: false,
    host,
    port: 0,
    workers: [
      {
        name: "commonweight",
        modulesRoot: join(packageRoot, "build/worker"),
        modules: readBundle(),
        compatibilityDate: "2026-10-01",
        compatibilityFlags: ["no_web_socket_compression"],
        durableObjects: { SESSION: { className: "TrainingSession", useSQLite: true } },
        r2Buckets: { BUCKET: "commonweight" },
        bindings: { ADMIN_SECRET: state.secret },
        serviceBindings: {
          ASSETS: ((request: { url: string }) => serveAsset(request.url)) as never,
        },
        unsafeDirectSockets: [{ host, port }],
      },
    ],
  });
  const runtime = new Miniflare({ ...converted, resourcePersistencePath: join(state.path, "storage") });
  try {
    await runtime.ready;
  } catch (error) {
    throw new CliError(`the local coordinator did not start: ${messageOf(error)}`, { cause: error });
  }
  return { url: `http://${host}:${port}`, stop: () => runtime.dispose() };
}
