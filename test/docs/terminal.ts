/**
 * A reader at a terminal: types a page's commands into bash, in a folder of the page's own, and sees what they print. `npx
 * commonweight` is this repository's, addresses and ids that the page writes as `<link>`, `<id>` or port 8787 are those that the
 * commands printed.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { packageRoot } from "../../cli/root.ts";

/** Milliseconds: for a command to end, and for lines to be printed. */
const COMMAND_LIMIT = 240_000;
const INTERVAL = 50;

const LINK = /https?:\/\/[\w.:-]+\/s\/[0-9a-f]{32}/;
const PAGE_SERVER = "http://127.0.0.1:8787";

/** Commands that are about this repository rather than about a reader's folder. */
const OF_REPOSITORY = /^(npm |node )/;

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** One command, running or ended. */
export class Run {
  readonly command: string;
  /** Resolves with the exit code. */
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;
  #output = "";
  #status: number | null = null;

  constructor(command: string, cwd: string, env: NodeJS.ProcessEnv) {
    this.command = command;
    // A group of its own, so that all of it can be ended.
    this.#child = spawn("bash", ["-c", command], { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#output += text;
      });
    }
    this.ended = new Promise((resolve) => {
      this.#child.once("close", (code, signal) => {
        this.#status = code ?? (signal === null ? 1 : 128);
        resolve(this.#status);
      });
    });
  }

  get output(): string {
    return this.#output;
  }

  /** Null while it runs. */
  get status(): number | null {
    return this.#status;
  }

  signal(name: NodeJS.Signals): void {
    if (this.#status === null && this.#child.pid !== undefined) process.kill(-this.#child.pid, name);
  }

  /** Throws with what it printed unless it ends in time, with 0 or with another code. */
  async end(fails: boolean): Promise<void> {
    const status = await Promise.race([this.ended, pause(COMMAND_LIMIT).then(() => "not ended in time" as const)]);
    if (typeof status === "string" || (status !== 0) !== fails)
      throw new Error(`$ ${this.command}\n${this.#output}\n(${status})`);
  }
}

/** A pattern of one line in which … stands for anything. */
const linePattern = (line: string): RegExp =>
  new RegExp(
    `^${line
      .trim()
      .split("…")
      .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/ +/g, " +"))
      .join(".*")}$`,
  );

/** The first of the lines that is not printed, in this order, or null. */
function missingLine(printed: string, lines: readonly string[]): string | null {
  const rest = printed.split(/\r?\n/).map((line) => line.trim());
  for (const line of lines) {
    const at = rest.findIndex((candidate) => linePattern(line).test(candidate));
    if (at < 0) return line;
    rest.splice(0, at + 1);
  }
  return null;
}

export class Terminal {
  readonly folder: string;
  readonly #env: NodeJS.ProcessEnv;
  /** All of them, in order. */
  readonly #runs: Run[] = [];
  readonly #background: Run[] = [];
  #last: Run | null = null;

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "commonweight-docs-"));
    const bin = join(this.folder, ".bin");
    mkdirSync(bin);
    const own = `exec ${process.execPath} ${join(packageRoot, "bin/commonweight.js")} "$@"`;
    writeFileSync(
      join(bin, "npx"),
      `#!/bin/sh\nname=$1\nshift\nif [ "$name" = commonweight ]; then ${own}; fi\nexec "$name" "$@"\n`,
    );
    chmodSync(join(bin, "npx"), 0o755);
    // Pages speak of the repository's examples by their paths in it.
    symlinkSync(join(packageRoot, "examples"), join(this.folder, "examples"));
    const path = [bin, dirname(process.execPath), join(packageRoot, "node_modules/.bin"), process.env.PATH];
    this.#env = { ...process.env, PATH: path.join(delimiter), WRANGLER_SEND_METRICS: "false" };
  }

  /** The link of the session that was printed last. Throws if none was. */
  get link(): string {
    const links = this.#runs.flatMap(({ output }) => output.match(new RegExp(LINK, "g")) ?? []);
    const link = links.at(-1);
    if (link === undefined) throw new Error("the page speaks of a session before any command printed its link");
    return link;
  }

  /** What stands for something that only running can tell, told. */
  fill(text: string): string {
    const withLink = text.replace(/(https:\/\/host|http:\/\/127\.0\.0\.1:8787)\/s\/<id>|<link>/g, () => this.link);
    const withId = withLink.replace(/<id>/g, () => this.link.slice(-32));
    const coordinator = this.#runs
      .map(({ output }) => /^coordinator (http:\S+)/m.exec(output)?.[1])
      .findLast((url) => url !== undefined);
    return coordinator === undefined ? withId : withId.replaceAll(PAGE_SERVER, coordinator);
  }

  async run(command: string, fails = false): Promise<void> {
    this.#last = this.#start(command);
    await this.#last.end(fails);
  }

  /** Starts a command that goes on. Any free port does for a coordinator: others may run on this machine. */
  start(command: string): void {
    this.#last = this.#start(/^npx commonweight dev\b(?!.*--port)/.test(command) ? `${command} --port 0` : command);
    this.#background.push(this.#last);
  }

  /** Waits until the lines are printed, by the background command with `word` in it or by the last command. */
  async expect(lines: readonly string[], word: string | undefined): Promise<void> {
    const run = word === undefined ? this.#last : this.#background.findLast(({ command }) => command.includes(word));
    if (run === null || run === undefined) throw new Error(`no command ${word ?? ""} ran that could print ${lines[0]}`);
    for (const end = performance.now() + COMMAND_LIMIT; ; await pause(INTERVAL)) {
      // Looked at first: what a command that ended had printed is complete.
      const over = run.status !== null || performance.now() > end;
      const missing = missingLine(
        run.output,
        lines.map((line) => this.fill(line)),
      );
      if (missing === null) return;
      if (over) throw new Error(`$ ${run.command}\nshould print: ${missing}\nprinted:\n${run.output}`);
    }
  }

  /** Interrupts what still runs. Throws if a background command failed. */
  async close(): Promise<void> {
    const failed = this.#background.filter(({ status }) => status !== null && status !== 0);
    // Coordinators last: whoever talks to them goes first.
    for (const run of this.#background.toReversed()) {
      run.signal("SIGINT");
      const isGone = await Promise.race([run.ended.then(() => true), pause(30_000).then(() => false)]);
      if (!isGone) run.signal("SIGKILL");
    }
    rmSync(this.folder, { recursive: true, force: true });
    if (failed.length > 0) {
      throw new Error(failed.map(({ command, status, output }) => `$ ${command}\n${output}\n(${status})`).join("\n"));
    }
  }

  #start(command: string): Run {
    const text = this.fill(command);
    const run = new Run(text, OF_REPOSITORY.test(text) ? packageRoot : this.folder, this.#env);
    this.#runs.push(run);
    return run;
  }
}
