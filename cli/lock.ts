/**
 * A lock on a file that the operating system gives up when its holder ends, however it ends: SQLite's own. A file with a
 * process id would not do, because ids come back, and in a container the same command often gets the same one.
 */

import { DatabaseSync } from "node:sqlite";
import { CliError, messageOf } from "./errors.ts";

const SQLITE_BUSY = 5;

/** Gives the lock up. */
export type Release = () => void;

/** Null if somebody holds it. Throws CliError if there can be no such file. */
export function tryLock(file: string): Release | null {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file);
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database?.close();
    if (error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY) return null;
    throw new CliError(`cannot lock ${file}: ${messageOf(error)}`, { cause: error });
  }
  const held = database;
  return () => {
    if (held.isOpen) held.close();
  };
}

/** Waits for the lock, asking a few times a second. Calls back once if it has to wait. */
export async function waitForLock(file: string, onWait: () => void): Promise<Release> {
  let release = tryLock(file);
  if (release === null) onWait();
  while (release === null) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    release = tryLock(file);
  }
  return release;
}
