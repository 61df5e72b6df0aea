import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../cli/root.ts";
import { ensurePackage } from "../../scripts/build.ts";
import { type Block, type Language, PAGES, readPage } from "./blocks.ts";
import { EXCEPTIONS, type Exception, exceptionFor } from "./exceptions.ts";
import { checkExported, needsPyTorch } from "./exported.ts";
import { checkTypes, kindOf, loadSession, ProgramBrowser, runNodeProgram } from "./programs.ts";
import { Terminal } from "./terminal.ts";

const pages = PAGES.map(readPage);
const browser = new ProgramBrowser();
const met = new Set<Exception>();
/** Replacements that ran: one is enough. */
const replaced = new Set<string>();

/** The commands of a block: one a line, unless a backslash ends it. */
const commandsOf = (code: string): string[] =>
  code
    .replace(/\\\n\s*/g, "")
    .split("\n")
    .map((line) => line.replace(/\s+#\s.*$/, "").trim())
    .filter((line) => line !== "" && !line.startsWith("#"));

async function type(terminal: Terminal, command: string, fails: boolean): Promise<void> {
  const exception = exceptionFor(command);
  if (exception === null) return terminal.run(command, fails);
  met.add(exception);
  if (exception.instead === null || replaced.has(exception.instead)) return;
  replaced.add(exception.instead);
  const replacement = exception.instead.startsWith("npx ")
    ? `cd ${packageRoot} && ${exception.instead}`
    : exception.instead;
  await terminal.run(replacement);
}

async function runProgram(terminal: Terminal, block: Block): Promise<void> {
  const [file] = block.words;
  const code = terminal.fill(block.code);
  const path = join(terminal.folder, file ?? "unnamed.ts");
  switch (kindOf(block)) {
    case "session":
      writeFileSync(path, code);
      if (!block.words.includes("fails")) await loadSession(path);
      return;
    case "node":
      return runNodeProgram(terminal.folder, code);
    case "browser":
      return browser.runProgram(terminal.folder, code);
  }
}

/** What each kind of block comes to. */
const RUNNERS: Readonly<Record<Language, (terminal: Terminal, block: Block) => Promise<void>>> = {
  sh: async (terminal, { code, words }) => {
    const commands = commandsOf(code);
    if (words.includes("background")) {
      expect(commands, "one background command a block").toHaveLength(1);
      terminal.start(commands[0]!);
    } else for (const command of commands) await type(terminal, command, words.includes("fails"));
  },
  output: (terminal, { code, words }) => terminal.expect(code.split("\n").filter(Boolean), words[0]),
  ts: runProgram,
  html: (terminal, { code }) => browser.takePart(terminal.folder, terminal.fill(code)),
  python: async (terminal, { code }) => {
    if (needsPyTorch(code)) return checkExported(terminal.folder, code);
    await promisify(execFile)("python3", ["-c", code], { cwd: terminal.folder });
  },
  text: async () => {},
};

describe("everything that the documentation says one can type", () => {
  beforeAll(() => ensurePackage());
  afterAll(() => browser.stop());

  it("has the right types", async () => {
    expect(await checkTypes(pages)).toBeGreaterThan(0);
  });

  it.each(pages.filter(({ blocks }) => blocks.some(({ language }) => language !== "text")))(
    "runs: $path",
    async ({ blocks }) => {
      const terminal = new Terminal();
      try {
        for (const block of blocks) await RUNNERS[block.language](terminal, block);
      } finally {
        await terminal.close();
      }
    },
  );

  it("has no exception that no page needs", () => {
    expect(EXCEPTIONS.filter((exception) => !met.has(exception))).toEqual([]);
  });
});
