/**
 * Coordinators that outlived their command. workerd does not notice when the process that started it is killed; it would
 * keep the port and go on writing to a storage that the next command opens. It is recognised by the files it holds open,
 * and only looked for by whoever has the folder's lock: then nobody else can be using them.
 */

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { sep } from "node:path";

/** Milliseconds to wait for a process that was killed to be gone. */
const PATIENCE = 5_000;

/** Process ids of every workerd that holds a file under `folder` open, by /proc. */
function holdersByProc(folder: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      if (readFileSync(`/proc/${name}/comm`, "utf8").trim() !== "workerd") return [];
      const files = readdirSync(`/proc/${name}/fd`).map((fd) => readlinkSync(`/proc/${name}/fd/${fd}`));
      return files.some((file) => file.startsWith(folder + sep)) ? [Number(name)] : [];
    } catch {
      // It ended while it was looked at, or belongs to somebody else: not ours to end either way.
      return [];
    }
  });
}

/** The same where there is no /proc, by lsof; nothing where that is missing, too. */
function holdersByLsof(folder: string): number[] {
  const { stdout } = spawnSync("lsof", ["-t", "-a", "-c", "workerd", "+D", folder], { encoding: "utf8" });
  return (stdout ?? "").split("\n").map(Number).filter(Boolean);
}

/** Ends every workerd that still uses `folder`. */
export async function endOrphans(folder: string): Promise<void> {
  if (!existsSync(folder)) return;
  // Open files are listed by their real paths.
  const real = realpathSync(folder);
  const holders = existsSync("/proc/self/fd") ? holdersByProc : holdersByLsof;
  const deadline = performance.now() + PATIENCE;
  for (let pids = holders(real); pids.length > 0 && performance.now() < deadline; pids = holders(real)) {
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
