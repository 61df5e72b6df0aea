/**
 * Session files: modules whose default export is `defineSession({...})`. They may also export `datasets`, what to push if
 * the coordinator lacks it, `onEpoch`, which is called after each epoch, and `generate`, the text that the trained model is to write.
 */

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { registerHooks } from "node:module";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { GraphError } from "../shared/graph/error.ts";
import { givenWeights } from "../shared/graph/given.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import type { Chunk, DatasetSource } from "./dataset.ts";
import { CliError } from "./errors.ts";
import { packageRoot } from "./root.ts";
import { locateFailure } from "./session-error.ts";
import { parseTextRequest, type TextRequest } from "./text-request.ts";

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
  /** First weights that do not follow from the seed, as the definition names them. */
  readonly initialWeights: Chunk | null;
  readonly datasets: Readonly<Record<string, DatasetSource>>;
  readonly onEpoch: ((report: EpochReport) => void) | null;
  readonly generate: TextRequest | null;
}

/** The package's own module of a session file, from its sources or as it was built. */
function ownModule(source: string, built: string): string {
  const path = join(packageRoot, source);
  return pathToFileURL(existsSync(path) ? path : join(packageRoot, built)).href;
}

/**
 * `commonweight/nn` and `commonweight/files` in a session file are this package's own, wherever the file lies; the latter is
 * told who imports it. And what its folder's package.json
 * leaves open, as the one that npm writes does, is a module (not so in installed packages).
 */
function resolveOwnImports(): void {
  const nn = ownModule("shared/nn/index.ts", "dist/shared/nn/index.js");
  const files = ownModule("cli/files.ts", "dist/cli/files.js");
  registerHooks({
    resolve: (specifier, context, next) => {
      if (specifier === "commonweight/nn") return { url: nn, shortCircuit: true };
      if (specifier === "commonweight/files") {
        return { url: `${files}?from=${encodeURIComponent(context.parentURL ?? "")}`, shortCircuit: true };
      }
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
  const { definition, initialWeights } = nameWeights(path, defined);
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

/** Given first weights get a name, which the definition has from then on. Throws CliError where they got lost. */
function nameWeights(path: string, definition: SessionDefinition): Pick<SessionFile, "definition" | "initialWeights"> {
  try {
    const weights = givenWeights(definition.graph);
    if (weights === null) return { definition, initialWeights: null };
    const bytes = new Uint8Array(weights.buffer);
    const hash = createHash("sha256").update(bytes).digest("hex");
    return { definition: { ...definition, initialWeights: hash }, initialWeights: { hash, bytes } };
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    throw new CliError(`${path}: ${error.message}`, { cause: error });
  }
}
