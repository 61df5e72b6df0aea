/** Clients of a chaotic training, each behind a bad line of its own: processes of Node, and tabs of one Chromium. */

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { ChromiumFleet } from "../e2e/fleets.ts";
import type { FaultyLine } from "./faulty-line.ts";
import type { Heard, Witness } from "./witness.ts";

/** How somebody stops taking part. */
export type Departure = "killed" | "leaves";

export interface Member {
  readonly name: string;
  readonly line: FaultyLine;
  /** Tells the witness all that was heard so far. */
  report(): Promise<void>;
  end(departure: Departure): Promise<void>;
  /** It hangs for so long, with its sockets open, and goes on as if nothing had been. */
  freeze(milliseconds: number): Promise<void>;
  /** It is in the background for so long, by all that a page hears of it; null for who is no tab. */
  readonly hide: ((milliseconds: number) => Promise<void>) | null;
}

export interface MemberOptions {
  readonly name: string;
  readonly line: FaultyLine;
  /** Path of the session on the coordinator. */
  readonly path: string;
  readonly witness: Witness;
}

const VOLUNTEER = fileURLToPath(new URL("volunteer.ts", import.meta.url));

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

export function startProcess({ name, line, path, witness }: MemberOptions): Member {
  const hear = witness.client(name);
  const child = spawn(process.execPath, [VOLUNTEER, line.url + path], { stdio: ["ignore", "ignore", "pipe", "ipc"] });
  let words = "";
  child.stderr?.on("data", (text: Buffer) => {
    words = (words + text.toString()).slice(-500);
  });
  child.on("message", (heard) => hear(heard as Heard));
  const ended = new Promise<void>((resolve) => {
    child.once("close", (code) => {
      if (code !== 0 && code !== null) witness.complaints.push(`${name} ended with ${code}: ${words.trim()}`);
      resolve();
    });
  });
  return {
    name,
    line,
    report: async () => {},
    end: async (departure) => {
      child.kill(departure === "killed" ? "SIGKILL" : "SIGTERM");
      await ended;
      await line.stop();
    },
    freeze: async (milliseconds) => {
      child.kill("SIGSTOP");
      await pause(milliseconds);
      child.kill("SIGCONT");
    },
    hide: null,
  };
}

const PAGE = `document.querySelector("commonweight-page")`;

export async function openTab(fleet: ChromiumFleet, options: MemberOptions): Promise<Member> {
  const { name, line, path, witness } = options;
  const hear = witness.client(name);
  const { tab, kill } = await fleet.start(line.url + path, name);
  // Behind a line that is cut again and again it may take minutes until it has everything.
  await tab.evaluate(`(() => {
    globalThis.heard = [];
    const listen = () => {
      if (${PAGE}.handle === null) return setTimeout(listen, 20);
      for (const what of ["weights", "progress"]) {
        ${PAGE}.handle.on(what, ({ step, version }) => heard.push({ what, step, version }));
      }
    };
    listen();
  })()`);
  const report = async (): Promise<void> => {
    for (const heard of await tab.evaluate<Heard[]>("heard.splice(0)")) hear(heard);
  };
  return {
    name,
    line,
    report,
    end: async (departure) => {
      await report();
      if (departure === "killed") await kill();
      else await tab.close();
      await line.stop();
    },
    freeze: async (milliseconds) => {
      await tab.call("Page.setWebLifecycleState", { state: "frozen" });
      await pause(milliseconds);
      await tab.call("Page.setWebLifecycleState", { state: "active" });
    },
    hide: async (milliseconds) => {
      for (const isHidden of [true, false]) {
        await tab.evaluate(`(() => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => ${isHidden} });
          Object.defineProperty(document, "visibilityState", { configurable: true, get: () => "${isHidden ? "hidden" : "visible"}" });
          document.dispatchEvent(new Event("visibilitychange"));
        })()`);
        if (isHidden) await pause(milliseconds);
      }
    },
  };
}
