/** `commonweight dev` as an operator runs it, for tests that kill its processes. */

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { findDescendants } from "../../bench/harness/processes.ts";
import { CoordinatorApi } from "../../cli/api.ts";
import { packageRoot } from "../../cli/root.ts";

export interface Dev {
  readonly process: ChildProcess;
  readonly url: string;
  readonly api: CoordinatorApi;
}

/** Starts it on a state folder; on any free port unless one is given. */
export async function startDev(state: string, port = "0"): Promise<Dev> {
  const bin = join(packageRoot, "bin/commonweight.js");
  const child = spawn(process.execPath, [bin, "dev", "--data", state, "--port", port], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (data: Buffer) => {
      text += data.toString();
      const found = /coordinator (http:\S+)/.exec(text)?.[1];
      if (found !== undefined) resolve(found);
    });
    child.once("exit", (code) => reject(new Error(`dev ended with ${code}: ${text}`)));
  });
  return {
    process: child,
    url,
    api: new CoordinatorApi(url, readFileSync(join(state, "admin-secret"), "utf8").trim()),
  };
}

/** Kills its workerd, which it starts again by itself. */
export function killWorkerd(dev: Dev): void {
  const workerds = findDescendants(dev.process.pid ?? -1, "workerd");
  if (workerds.length === 0) throw new Error("there is no workerd to kill");
  for (const pid of workerds) process.kill(pid, "SIGKILL");
}

/** Kills everything of it: the next one starts on what is on disk. */
export function killTree(dev: Dev): void {
  const tree = [...findDescendants(dev.process.pid ?? -1, "workerd"), dev.process.pid ?? -1];
  for (const pid of tree) process.kill(pid, "SIGKILL");
}
