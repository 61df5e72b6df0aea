/**
 * Session files: modules whose default export is `defineSession({...})`. They may also export `datasets`, what to push if
 * the coordinator lacks it, and `onEpoch`, which is called after each epoch.
 */

import { existsSync } from "node:fs";
import { registerHooks } from "node:module";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { SessionDefinition } from "../shared/session/definition.ts";
import type { DatasetSource } from "./dataset.ts";
import { CliError } from "./errors.ts";
import { packageRoot } from "./root.ts";
import { locateFailure } from "./session-error.ts";

export interface EpochReport {
  /** Counted from 0. */
  readonly epoch: number;
  /** Mean over the epoch's steps. */
  readonly loss: number;
}

export interface SessionFile {
  /** Full path, and the folder that paths in the file are relative to. */
  readonly path: string;
  readonly folder: string;
  readonly definition: SessionDefinition;
  readonly datasets: Readonly<Record<string, DatasetSource>>;
  readonly onEpoch: ((report: EpochReport) => void) | null;
}

/**
 * `commonweight/nn` in a session file is this package's own, wherever the file lies; and what its folder's package.json
 * leaves open, as the one that npm writes does, is a module (not so in installed packages).
 */
function resolveOwnImports(): void {
  const source = join(packageRoot, "shared/nn/index.ts");
  const own = pathToFileURL(existsSync(source) ? source : join(packageRoot, "dist/shared/nn/index.js")).href;
  registerHooks({
    resolve: (specifier, context, next) => {
      if (specifier === "commonweight/nn") return { url: own, shortCircuit: true };
      const resolved = next(specifier, context);
      const isOpen = (resolved.format ?? null) === null && /^(?!.*\/node_modules\/).*\.[jt]s$/.test(resolved.url);
      return isOpen ? { ...resolved, format: resolved.url.endsWith(".ts") ? "module-typescript" : "module" } : resolved;
    },
  });
}

/** Frames of a stack that are kept: a user's is below those of every nested layer. */
const STACK_DEPTH = 200;

/** Throws CliError with the place in the file and its complaint. */
export async function loadSessionFile(path: string): Promise<SessionFile> {
  const full = resolve(path);
  if (!existsSync(full)) throw new CliError(`there is no session file ${path}`);
  resolveOwnImports();
  let module: { default?: unknown; datasets?: unknown; onEpoch?: unknown };
  const depth = Error.stackTraceLimit;
  Error.stackTraceLimit = STACK_DEPTH;
  try {
    module = (await import(pathToFileURL(full).href)) as typeof module;
  } catch (error) {
    throw locateFailure(full, error);
  } finally {
    Error.stackTraceLimit = depth;
  }
  const definition = module.default as SessionDefinition | undefined;
  if (definition?.format !== 1) throw new CliError(`${path}: its default export must be defineSession({...})`);
  return {
    path: full,
    folder: dirname(full),
    definition,
    datasets: (module.datasets ?? {}) as SessionFile["datasets"],
    onEpoch: typeof module.onEpoch === "function" ? (module.onEpoch as SessionFile["onEpoch"]) : null,
  };
}
