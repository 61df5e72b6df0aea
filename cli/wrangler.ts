/** Runs Cloudflare's own command line, which is to be installed beside this one. Every command is shown before it runs. */

import { spawn } from "node:child_process";
import { delimiter, join } from "node:path";
import { CliError } from "./errors.ts";
import { packageRoot } from "./root.ts";

export interface WranglerResult {
  readonly code: number;
  /** Standard output; empty if it went to the terminal. */
  readonly output: string;
  /** Both streams, for telling one failure from another. */
  readonly words: string;
}

export interface WranglerOptions {
  /** Standard input, such as a secret; never shown. */
  readonly input?: string;
  /** Whether the answer is wanted here, rather than on the terminal. */
  readonly capture?: boolean;
}

export const commandLine = (args: readonly string[]): string => `wrangler ${args.join(" ")}`;

/** Throws CliError if there is no wrangler. What its exit code means is the caller's to say. */
export function runWrangler(args: readonly string[], options: WranglerOptions = {}): Promise<WranglerResult> {
  const { input, capture = false } = options;
  const folders = [join(process.cwd(), "node_modules/.bin"), join(packageRoot, "node_modules/.bin")];
  const child = spawn("wrangler", [...args], {
    env: {
      ...process.env,
      PATH: [...folders, process.env.PATH].join(delimiter),
      WRANGLER_SEND_METRICS: process.env.WRANGLER_SEND_METRICS ?? "false",
    },
    stdio: [input === undefined ? "inherit" : "pipe", capture ? "pipe" : "inherit", capture ? "pipe" : "inherit"],
    shell: process.platform === "win32",
  });
  let output = "";
  let words = "";
  child.stdout?.on("data", (data: Buffer) => {
    output += data.toString();
    words += data.toString();
  });
  child.stderr?.on("data", (data: Buffer) => {
    words += data.toString();
  });
  child.stdin?.end(input);
  return new Promise((resolve, reject) => {
    child.once("error", (cause) => {
      reject(new CliError("this needs Cloudflare's command line: npm install wrangler", { cause }));
    });
    child.once("close", (code) => resolve({ code: code ?? 1, output, words }));
  });
}
