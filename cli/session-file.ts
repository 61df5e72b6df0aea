/**
 * Session files: modules whose default export is `defineSession({...})`. They may also export `datasets`, what to push if
 * the coordinator lacks it, `onEpoch`, which is called after each epoch, and `generate`, the text that the trained model is to write.
 */

import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { SessionDefinition } from "../shared/session/definition.ts";
import type { DatasetSource } from "./dataset.ts";
import { CliError } from "./errors.ts";
import { type NamedDefinition, nameFirstWeights } from "./first-weights.ts";
import { resolveOwnImports } from "./own-modules.ts";
import { locateFailure } from "./session-error.ts";
import { parseTextRequest, type TextRequest } from "./text-request.ts";

export interface EpochReport {
  /** Counted from 0. */
  readonly epoch: number;
  /** Mean over the epoch's steps. */
  readonly loss: number;
}

export interface SessionFile extends NamedDefinition {
  /** Full path, and the folder that paths in the file are relative to. */
  readonly path: string;
  readonly folder: string;
  readonly datasets: Readonly<Record<string, DatasetSource>>;
  readonly onEpoch: ((report: EpochReport) => void) | null;
  readonly generate: TextRequest | null;
}

/** Frames of a stack that are kept: a user's is below those of every nested layer. */
const STACK_DEPTH = 200;

/** Throws CliError with the place in the file and its complaint. */
export async function loadSessionFile(path: string): Promise<SessionFile> {
  const full = resolve(path);
  if (!existsSync(full)) throw new CliError(`there is no session file ${path}`);
  resolveOwnImports();
  let module: { default?: unknown; datasets?: unknown; onEpoch?: unknown; generate?: unknown };
  const depth = Error.stackTraceLimit;
  Error.stackTraceLimit = STACK_DEPTH;
  try {
    module = (await import(pathToFileURL(full).href)) as typeof module;
  } catch (error) {
    throw locateFailure(full, error);
  } finally {
    Error.stackTraceLimit = depth;
  }
  const defined = module.default as SessionDefinition | undefined;
  if (defined?.format !== 1) throw new CliError(`${path}: its default export must be defineSession({...})`);
  const { definition, initialWeights } = nameFirstWeights(path, defined);
  return {
    path: full,
    folder: dirname(full),
    definition,
    initialWeights,
    datasets: (module.datasets ?? {}) as SessionFile["datasets"],
    onEpoch: typeof module.onEpoch === "function" ? (module.onEpoch as SessionFile["onEpoch"]) : null,
    generate: module.generate === undefined ? null : parseTextRequest(module.generate, path),
  };
}
