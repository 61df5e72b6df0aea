/**
 * A disk of so many bytes that can be filled: a file system in memory, in a mount namespace of its own. It lives as long as the process
 * that holds it, which ends with this one: nothing stays mounted, however this ends.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

export interface SmallDisk {
  /** Command that a program is started by so that it sees the disk. */
  readonly enter: readonly string[];
  /** Where this process finds a path of it. */
  see(path: string): string;
  /** Leaves no room for another byte. */
  fill(): void;
  free(): void;
  stop(): void;
}

/** Ways to a namespace of one's own, and into it: as root, or as the root of a namespace of users. */
const WAYS = [
  { make: ["--mount"], enter: ["--mount"] },
  { make: ["--user", "--map-root-user", "--mount"], enter: ["--user", "--preserve-credentials", "--mount"] },
] as const;

/** Mounts it over an empty folder; null where this machine lets nobody. */
export async function mountSmallDisk(folder: string, bytes: number): Promise<SmallDisk | null> {
  for (const { make, enter } of WAYS) {
    const holder = await hold(folder, bytes, make);
    if (holder === null) continue;
    const see = (path: string): string => join(`/proc/${holder.pid}/root`, path);
    const ballast = see(join(folder, "ballast"));
    return {
      enter: ["nsenter", "--target", String(holder.pid), ...enter, "--"],
      see,
      fill: () => fill(ballast),
      free: () => rmSync(ballast, { force: true }),
      stop: () => holder.kill("SIGKILL"),
    };
  }
  return null;
}

function hold(folder: string, bytes: number, make: readonly string[]): Promise<ChildProcess | null> {
  // It ends with what it reads from: with this process.
  const script = 'mount -t tmpfs -o "size=$1" tmpfs "$0" && echo mounted && exec cat >/dev/null';
  const child = spawn("unshare", [...make, "sh", "-c", script, folder, String(bytes)], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  return new Promise((resolve) => {
    child.once("error", () => resolve(null));
    child.once("exit", () => resolve(null));
    child.stdout?.once("data", () => resolve(child));
  });
}

function fill(path: string): void {
  const file = openSync(path, "a");
  try {
    for (const size of [1 << 20, 1 << 12]) {
      const block = Buffer.alloc(size, 1);
      try {
        while (writeSync(file, block) === size);
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
      }
    }
  } finally {
    closeSync(file);
  }
}
