/** The clock of a coordinator's processes, which can be set while they run (clock.c). */

import { spawnSync } from "node:child_process";
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export interface SetClock {
  /** Environment of the processes that go by it. */
  readonly env: Readonly<Record<string, string>>;
  /** Seconds that it is ahead of this machine's. */
  set(ahead: number): void;
}

const SOURCE = fileURLToPath(new URL("clock.c", import.meta.url));

/** Null where there is no C compiler, or nothing can be preloaded. */
export function makeClock(folder: string): SetClock | null {
  if (process.platform !== "linux") return null;
  const library = join(folder, "clock.so");
  const { status } = spawnSync("cc", ["-O2", "-shared", "-fPIC", "-o", library, SOURCE], { stdio: "ignore" });
  if (status !== 0) return null;
  const file = join(folder, "clock");
  const set = (ahead: number): void => {
    const seconds = Buffer.alloc(8);
    seconds.writeBigInt64LE(BigInt(ahead));
    // In place: the processes have it mapped.
    const opened = openSync(file, "r+");
    writeSync(opened, seconds, 0, seconds.length, 0);
    closeSync(opened);
  };
  writeFileSync(file, Buffer.alloc(8));
  return { env: { LD_PRELOAD: library, CHAOS_CLOCK: file }, set };
}
