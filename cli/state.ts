/**
 * The folder `.commonweight` beside the user's work: the local coordinator's storage, its admin secret (mode 0600), the
 * sessions of earlier `train` commands, and a lock, because one storage cannot serve two coordinators.
 */

import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { CliError, messageOf } from "./errors.ts";
import { tryLock } from "./lock.ts";

export const DEFAULT_STATE = ".commonweight";

export interface StateFolder {
  readonly path: string;
  /** 1 for the folder asked for; 2, 3, … for those taken because it was in use. */
  readonly number: number;
  readonly secret: string;
  /** Gives the folder up. */
  release(): void;
}

/** Whole or not at all, whenever this process ends. */
export function writeWhole(file: string, content: string | Uint8Array, mode = 0o666): void {
  const part = `${file}.${process.pid}.part`;
  writeFileSync(part, content, { mode });
  renameSync(part, file);
}

function readSecret(path: string): string {
  const file = join(path, "admin-secret");
  if (!existsSync(file)) writeWhole(file, randomBytes(32).toString("base64url"), 0o600);
  chmodSync(file, 0o600);
  return readFileSync(file, "utf8").trim();
}

/** Opens the folder, or answers null where another command uses it. Throws CliError if it cannot be written. */
export function claimState(base: string, number = 1): StateFolder | null {
  const path = resolve(number === 1 ? base : `${base}-${number}`);
  try {
    mkdirSync(path, { recursive: true });
    // It holds a secret: a repository around it must not take it in.
    writeFileSync(join(path, ".gitignore"), "*\n");
  } catch (error) {
    throw new CliError(`cannot keep the coordinator's state in ${path}: ${messageOf(error)}`, { cause: error });
  }
  const release = tryLock(join(path, "lock.sqlite"));
  return release === null ? null : { path, number, secret: readSecret(path), release };
}

/** Opens `base`, or where another command uses it `base-2`, `base-3`, …: two trainings at once do not meet. */
export function openState(base = DEFAULT_STATE): StateFolder {
  for (let number = 1; ; number++) {
    const state = claimState(base, number);
    if (state !== null) return state;
  }
}

/** What a coordinator on this machine left for other commands: its port, if it ever ran, and its secret. */
export function readState(base: string): { readonly port: number; readonly secret: string } | null {
  const [port, secret] = ["port", "admin-secret"].map((name) => join(resolve(base), name));
  if (!existsSync(port) || !existsSync(secret)) return null;
  return { port: Number(readFileSync(port, "utf8")), secret: readFileSync(secret, "utf8").trim() };
}

/** Sessions that `train` made in this folder, by a key of what was asked for. */
export class SessionBook {
  readonly #file: string;

  constructor(state: StateFolder) {
    this.#file = join(state.path, "sessions.json");
  }

  find(key: string): string | undefined {
    return this.#read()[key];
  }

  keep(key: string, id: string): void {
    writeWhole(this.#file, JSON.stringify({ ...this.#read(), [key]: id }, null, 1));
  }

  #read(): Record<string, string> {
    return existsSync(this.#file) ? (JSON.parse(readFileSync(this.#file, "utf8")) as Record<string, string>) : {};
  }
}
