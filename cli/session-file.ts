/**
 * Session files: modules whose default export is `defineSession({...})`. They may also export `datasets`, what to push if
 * the coordinator lacks it, and `onEpoch`, which is called after each epoch.
 */

import { existsSync } from "node:fs";
import { registerHooks } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { SessionDefinition } from "../shared/session/definition.ts";
import type { DatasetSource } from "./dataset.ts";
import { CliError, messageOf } from "./errors.ts";
import { packageRoot } from "./root.ts";

export interface EpochReport {
  /** Counted from 0. */
  readonly epoch: number;
  /** Mean over the epoch's steps. */
  readonly loss: number;
}

export interface SessionFile {
  readonly definition: SessionDefinition;
  readonly datasets: Readonly<Record<string, DatasetSource>>;
  readonly onEpoch: ((report: EpochReport) => void) | null;
}

/** `commonweight/nn` in a session file is this package's own, wherever the file lies. */
function resolveOwnImports(): void {
  const source = join(packageRoot, "shared/nn/index.ts");
  const own = pathToFileURL(existsSync(source) ? source : join(packageRoot, "dist/shared/nn/index.js")).href;
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === "commonweight/nn" ? { url: own, shortCircuit: true } : next(specifier, context),
  });
}

/** Throws CliError with the file's own complaint. */
export async function loadSessionFile(path: string): Promise<SessionFile> {
  const full = resolve(path);
  if (!existsSync(full)) throw new CliError(`there is no session file ${path}`);
  resolveOwnImports();
  let module: { default?: unknown; datasets?: unknown; onEpoch?: unknown };
  try {
    module = (await import(pathToFileURL(full).href)) as typeof module;
  } catch (error) {
    throw new CliError(`${path}: ${messageOf(error)}`, { cause: error });
  }
  const definition = module.default as SessionDefinition | undefined;
  if (definition?.format !== 1) throw new CliError(`${path}: its default export must be defineSession({...})`);
  return {
    definition,
    datasets: (module.datasets ?? {}) as SessionFile["datasets"],
    onEpoch: typeof module.onEpoch === "function" ? (module.onEpoch as SessionFile["onEpoch"]) : null,
  };
}
