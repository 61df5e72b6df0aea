/** Files of other people's making: read whole, up to a limit that is said where it is passed. */

import { readFileSync, statSync } from "node:fs";
import { CliError, messageOf } from "../errors.ts";

/** Bytes of the largest data set (SESSION_LIMITS.datasetBytes): no single file need have more. */
export const MAX_FILE_BYTES = 2_000_000_000;

/** Throws CliError naming the file if it cannot be read, or has more than `limit` bytes. */
export function readFile(path: string, limit = MAX_FILE_BYTES): Uint8Array<ArrayBuffer> {
  try {
    const stats = statSync(path);
    if (stats.isDirectory()) throw new CliError(`cannot read ${path}: it is a folder`);
    if (stats.size > limit) throw new CliError(`${path} has ${stats.size} bytes, the limit is ${limit}`);
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}
