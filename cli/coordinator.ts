/**
 * The local coordinator: the deployed Worker's own bundle in workerd, by Miniflare, with its storage in the state folder.
 * Clients reach workerd directly, because Miniflare's front door would negotiate permessage-deflate, which triples a step.
 */

import { appendFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { extname, join, normalize, sep } from "node:path";
import { watchClock } from "./clock.ts";
import { CliError, messageOf } from "./errors.ts";
import { endOrphans } from "./orphans.ts";
import { isRepository, packageRoot } from "./root.ts";
import { type StateFolder, writeWhole } from "./state.ts";

export interface Coordinator {
  /** As this machine reaches it. */
  readonly url: string;
  /**
   * Miniflare's own entry to the same Worker. It says the client's address, as Cloudflare does, and compresses, as nothing here should:
   * for tests alone.
   */
  readonly frontDoor: string;
  /** What the Worker logs. */
  readonly log: string;
  readonly stop: () => Promise<void>;
}

export interface CoordinatorOptions {
  readonly state: StateFolder;
  /** Wanted port; 0 for any. Undefined: the one of last time, or 8787. */
  readonly port?: number | undefined;
  /** Whether a taken port is an error; else another one is taken, and that is said. */
  readonly insist?: boolean;
  /** Address to listen on: by default this machine alone can reach it, by 0.0.0.0 everyone who reaches this machine. */
  readonly host?: string;
  readonly say: (line: string) => void;
  /** What a deployment has and a local coordinator does not: for tests alone. */
  readonly deployment?: Deployment;
}

export interface Deployment {
  /** Variables and secrets. */
  readonly variables: Readonly<Record<string, string>>;
  /** Answers what the Worker fetches from elsewhere. */
  readonly outside: (request: Request) => Promise<Response>;
}

export const DEFAULT_PORT = 8787;
/** Those of wrangler.toml, which is not at hand where this package is installed without its sources. */
export const COMPATIBILITY = { date: "2026-10-01", flags: ["no_web_socket_compression"] } as const;
/** Somebody may take a port between a look and its use. */
const ATTEMPTS = 5;

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

async function choosePort({
  state,
  port,
  insist = false,
  host = "127.0.0.1",
  say,
}: CoordinatorOptions): Promise<number> {
  const file = join(state.path, "port");
  const last = existsSync(file) ? Number(readFileSync(file, "utf8")) : 0;
  const wanted = port ?? (last > 0 ? last : DEFAULT_PORT);
  const free = await tryPort(host, wanted);
  if (free !== null) return free;
  if (insist) throw new CliError(`port ${wanted} is taken: choose another with --port, or --port 0 for any`);
  const other = await tryPort(host, 0);
  if (other === null) throw new CliError(`no port is free on ${host}`);
  say(`port ${wanted} is taken: using ${other}`);
  return other;
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

/** The path of an address within `folder`, or null if it is malformed or leads out of it. */
function fileOf(url: string, folder: string): string | null {
  try {
    const file = normalize(join(folder, decodeURIComponent(new URL(url).pathname)));
    return file.startsWith(folder + sep) ? file : null;
  } catch {
    return null;
  }
}

/** Stands in for Cloudflare's static assets, which answer the same binding where this is deployed. */
function serveAsset(url: string): Response {
  const file = fileOf(url, join(packageRoot, "build/assets"));
  if (file === null || !existsSync(file) || !statSync(file).isFile()) return new Response("not found", { status: 404 });
  // Whole: a stream crosses over to workerd in pieces of 64 KB, and onnxruntime's 14 MB would take half a second.
  return new Response(readFileSync(file), {
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

async function loadMiniflare(): Promise<typeof import("miniflare")> {
  try {
    return await import("miniflare");
  } catch (cause) {
    throw new CliError("a local coordinator needs the package miniflare: npm install miniflare", { cause });
  }
}

const isAddressInUse = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "ERR_ADDRESS_IN_USE";

/** Throws CliError if there is no port, no miniflare, or workerd does not start. */
export async function startCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { state, host = "127.0.0.1", say, deployment } = options;
  await prepareBundle(say);
  const { Miniflare, convertV4MiniflareOptions, Log, LogLevel } = await loadMiniflare();
  const storage = join(state.path, "storage");
  await endOrphans(storage);

  const log = join(state.path, "coordinator.log");
  writeFileSync(log, "");
  let isLost = false;
  /** One JSON object a line, as the Worker's own lines are, with the time. */
  const note = (level: string, message: string): void => {
    const time = `{"time":"${new Date().toISOString()}",`;
    const line = message.startsWith('{"level":') ? message : JSON.stringify({ level, event: "runtime", message });
    try {
      appendFileSync(log, `${time}${line.slice(1)}\n`);
      isLost = false;
    } catch (error) {
      // On a full disk what runs is worth more than its log.
      if (!isLost) say(`the log cannot be written: ${messageOf(error)}`);
      isLost = true;
    }
  };
  /** Miniflare's own log goes to the file as well: standard output is for what was asked for. */
  class FileLog extends Log {
    protected override log(message: string): void {
      note("error", message);
    }
  }

  for (let attempt = 1; ; attempt++) {
    const port = await choosePort(options);
    const converted = convertV4MiniflareOptions({
      log: new FileLog(LogLevel.ERROR),
      handleStructuredLogs: ({ level, message }) => note(level, message),
      telemetry: { enabled: false },
      cf: false,
      host,
      port: 0,
      workers: [
        {
          name: "commonweight",
          modulesRoot: join(packageRoot, "build/worker"),
          modules: readBundle(),
          compatibilityDate: COMPATIBILITY.date,
          compatibilityFlags: [...COMPATIBILITY.flags],
          durableObjects: { SESSION: { className: "TrainingSession", useSQLite: true } },
          r2Buckets: { BUCKET: "commonweight" },
          bindings: { ...deployment?.variables, ADMIN_SECRET: state.secret },
          ...(deployment === undefined ? {} : { outboundService: deployment.outside as never }),
          serviceBindings: {
            ASSETS: ((request: { url: string }) => serveAsset(request.url)) as never,
          },
          unsafeDirectSockets: [{ host, port }],
        },
      ],
    });
    const runtime = new Miniflare({ ...converted, resourcePersistencePath: storage });
    let frontDoor: URL;
    try {
      frontDoor = await runtime.ready;
    } catch (error) {
      await runtime.dispose().catch((reason: unknown) => note("error", `while stopping: ${messageOf(reason)}`));
      if (isAddressInUse(error) && attempt < ATTEMPTS) continue;
      throw new CliError(`the local coordinator did not start: ${messageOf(error)}`, { cause: error });
    }
    writeWhole(join(state.path, "port"), String(port));
    const own = host === "0.0.0.0" ? "127.0.0.1" : host;
    const endWatch = watchClock((milliseconds) => {
      note("warn", `the clock was set back by ${Math.round(milliseconds / 1000)} s: workerd starts again`);
      // Miniflare starts another one.
      endOrphans(storage).catch((reason: unknown) => note("error", `while ending workerd: ${messageOf(reason)}`));
    });
    const stop = (): Promise<void> => {
      endWatch();
      return runtime.dispose();
    };
    return { url: `http://${own}:${port}`, frontDoor: frontDoor.origin, log, stop };
  }
}
