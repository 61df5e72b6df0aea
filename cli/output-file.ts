/** Files that a command writes at its end: what would keep it from that is said at its beginning. */

import { mkdirSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { CliError, messageOf } from "./errors.ts";

/** The full path, in a folder that is there from now on. Throws CliError naming `content` if it cannot be written. */
export function prepareOutput(path: string, content: string): string {
  const file = resolve(path);
  try {
    mkdirSync(dirname(file), { recursive: true });
  } catch (error) {
    throw new CliError(`cannot write ${content} to ${file}: ${messageOf(error)}`, { cause: error });
  }
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory()) {
    throw new CliError(`cannot write ${content} to ${file}: it is a folder`);
  }
  return file;
}
