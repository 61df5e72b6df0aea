/**
 * Session files: modules whose default export is `defineSession({...})`. They may also export `datasets`, what to push if
 * the coordinator lacks it, and `onEpoch`, which is called after each epoch.
 */

import { existsSync } from "node:fs";
import { registerHooks } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { ColumnSpec, SessionDefinition } from "../shared/session/definition.ts";
import { type DatasetContent, type IdxFiles, readImageSet } from "./dataset.ts";
import { CliError, messageOf } from "./errors.ts";
import { packageRoot } from "./root.ts";

/** One column in memory: all its values, and one sample's shape. */
export interface ColumnData {
  readonly values: Uint8Array | Int32Array | Float32Array;
  readonly shape: readonly number[];
}

/** A data set that a session file brings along: files on disk, or arrays made on the spot. */
export type DatasetSource = { readonly idx: IdxFiles } | { readonly columns: Readonly<Record<string, ColumnData>> };

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

const dtypeOf = (values: ColumnData["values"]): ColumnSpec["dtype"] =>
  values instanceof Uint8Array ? "uint8" : values instanceof Int32Array ? "int32" : "float32";

/** Reads a source into memory. Throws CliError if columns differ in length. */
export function readSource(name: string, source: DatasetSource): DatasetContent {
  if ("idx" in source) return readImageSet(source.idx);
  const entries = Object.entries(source.columns).map(([column, { values, shape }]) => {
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    const spec: ColumnSpec = { name: column, dtype: dtypeOf(values), shape };
    return {
      spec,
      rows: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      samples: values.length / size,
    };
  });
  const [first] = entries;
  if (first === undefined) throw new CliError(`the data set ${name} has no columns`);
  for (const { spec, samples } of entries) {
    if (samples !== first.samples || !Number.isInteger(samples)) {
      throw new CliError(
        `data set ${name}: column ${spec.name} has ${samples} samples, ${first.spec.name} has ${first.samples}`,
      );
    }
  }
  return {
    columns: entries.map(({ spec }) => spec),
    rows: entries.map(({ rows }) => rows),
    samples: first.samples,
    splits: { train: [0, first.samples] },
  };
}
