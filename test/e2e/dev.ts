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

/** What is around it: by default what is around this process. */
export interface Surroundings {
  /** Folder of the package. */
  readonly root: string;
  /** Command that it is started by. */
  readonly enter: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Where this process finds a path of it. */
  readonly see: (path: string) => string;
}

export const HERE: Surroundings = { root: packageRoot, enter: [], env: {}, see: (path) => path };

/** Starts it on a state folder; on any free port unless one is given. */
export async function startDev(state: string, port = "0", around: Surroundings = HERE): Promise<Dev> {
  const bin = join(around.root, "bin/commonweight.js");
  const [command = "", ...given] = [...around.enter, process.execPath, bin, "dev", "--data", state, "--port", port];
  const child = spawn(command, given, {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...around.env },
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
    api: new CoordinatorApi(url, readFileSync(around.see(join(state, "admin-secret")), "utf8").trim()),
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
