/**
 * The folder `.commonweight` beside the user's work: the local coordinator's storage, its admin secret (mode 0600), the
 * sessions of earlier `train` commands, and a lock, because one storage cannot serve two coordinators.
 */

import { randomBytes } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

export interface StateFolder {
  readonly path: string;
  readonly secret: string;
  /** Gives the folder up. */
  release(): void;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Takes the lock, also over from a process that is gone. */
function lock(path: string): boolean {
  const file = join(path, "lock");
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const handle = openSync(file, "wx");
      writeFileSync(handle, String(process.pid));
      closeSync(handle);
      return true;
    } catch {
      const holder = Number(existsSync(file) ? readFileSync(file, "utf8") : 0);
      if (holder > 0 && isAlive(holder)) return false;
      rmSync(file, { force: true });
    }
  }
  return false;
}

function readSecret(path: string): string {
  const file = join(path, "admin-secret");
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString("base64url"), { mode: 0o600 });
  return readFileSync(file, "utf8").trim();
}

/** Opens `base`, or where another command uses it, `base-2`, `base-3`, …: two trainings at once do not meet. */
export function openState(base = ".commonweight"): StateFolder {
  for (let number = 1; ; number++) {
    const path = resolve(number === 1 ? base : `${base}-${number}`);
    mkdirSync(path, { recursive: true });
    if (!lock(path)) continue;
    const release = (): void => rmSync(join(path, "lock"), { force: true });
    process.once("exit", release);
    return { path, secret: readSecret(path), release };
  }
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
    writeFileSync(this.#file, JSON.stringify({ ...this.#read(), [key]: id }, null, 1));
  }

  #read(): Record<string, string> {
    return existsSync(this.#file) ? (JSON.parse(readFileSync(this.#file, "utf8")) as Record<string, string>) : {};
  }
}
