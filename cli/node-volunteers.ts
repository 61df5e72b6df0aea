/** Volunteers in Node processes of their own, where there is no browser: the same SDK, with the ONNX engine. */

import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import type { VolunteerEngine } from "./arguments.ts";
import { packageRoot } from "./root.ts";
import { Roster, type VolunteerOptions, type Volunteers } from "./volunteers.ts";

/** What Node has in a browser engine's place. */
const ENGINE_IN_NODE = { auto: "auto", webgpu: "wasm", wasm: "wasm" } as const satisfies Record<
  VolunteerEngine,
  string
>;

/** Characters of a process's last words that are kept. */
const LAST_WORDS = 500;

/** Starts one process of `commonweight volunteer` a volunteer. */
export function startProcesses({ url, engines, say }: VolunteerOptions): Volunteers {
  const roster = new Roster(engines.length, say);
  const children: ChildProcess[] = engines.map((engine, index) => {
    const bin = join(packageRoot, "bin/commonweight.js");
    const options = ["--engine", ENGINE_IN_NODE[engine], "--workers", "1", "--quiet"];
    // The channel closes when this process ends, however it ends, and the volunteer leaves (volunteer.ts).
    const child = spawn(process.execPath, [bin, "volunteer", url, ...options], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    let words = "";
    child.stderr?.on("data", (text: Buffer) => {
      words = (words + text.toString()).slice(-LAST_WORDS);
    });
    child.once("error", (error) => roster.end(index + 1, error.message));
    child.once("close", (code, signal) => {
      const death = words.trim() || (signal === null ? `exit code ${code}` : signal);
      roster.end(index + 1, code === 0 ? "" : death);
    });
    return child;
  });
  return {
    started: engines.length,
    get alive() {
      return roster.alive;
    },
    get lastDeath() {
      return roster.lastDeath;
    },
    stop: async () => {
      roster.dismiss();
      for (const child of children) child.kill();
    },
  };
}
