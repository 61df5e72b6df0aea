/** A folder with a sub-folder for each class, the files in it being the samples: pictures, texts. */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { CliError, messageOf } from "../errors.ts";

export const MAX_CLASSES = 1_000;

/** What the files are. */
export interface SampleFiles {
  readonly pattern: RegExp;
  /** As in "is not a PNG file". */
  readonly one: string;
  /** As in "holds no pictures". */
  readonly many: string;
}

export interface ClassFolder {
  /** In the order of their numbers. */
  readonly classes: readonly string[];
  readonly files: readonly { readonly path: string; readonly label: number }[];
}

/** Names in a folder in order, those of hidden files left out. */
function list(folder: string): { name: string; isFolder: boolean }[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter(({ name }) => !name.startsWith("."))
      .map((entry) => ({ name: entry.name, isFolder: entry.isDirectory() }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    throw new CliError(`cannot read ${folder}: ${messageOf(error)}`, { cause: error });
  }
}

function listClass(folder: string, { pattern, one, many }: SampleFiles): string[] {
  const files = list(folder).map(({ name, isFolder }) => {
    const path = join(folder, name);
    if (isFolder || !pattern.test(name)) throw new CliError(`${path} is not ${one}: only those are read`);
    return path;
  });
  if (files.length === 0) throw new CliError(`${folder} holds no ${many}: leave it out, or fill it`);
  return files;
}

/** Throws CliError naming the folder or the file that does not belong there. */
export function listClasses(folder: string, samples: SampleFiles): ClassFolder {
  const classes = list(folder)
    .filter(({ isFolder }) => isFolder)
    .map(({ name }) => name);
  if (classes.length < 2 || classes.length > MAX_CLASSES) {
    throw new CliError(`${folder} has ${classes.length} sub-folders: expected 2 to ${MAX_CLASSES}, one for each class`);
  }
  const files = classes.flatMap((name, label) =>
    listClass(join(folder, name), samples).map((path) => ({ path, label })),
  );
  return { classes, files };
}
