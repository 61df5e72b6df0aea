/**
 * The documentation as the blocks of code in it, page by page and in order. The first word after a fence is the block's
 * language and says what becomes of it:
 *
 * | fence | what the test does |
 * |---|---|
 * | `sh`, or an indented block | runs each command in the page's folder; it must end with 0 |
 * | `sh background` | starts the one command; it goes on while the rest of the page runs |
 * | `sh fails` | runs the one command, which must not end with 0 |
 * | `output`, `output <word>` | the lines must be printed by the last command, or by the background one with that word in it |
 * | `ts`, `ts <file>` | checks the types, then runs the program or loads the session file, which `<file>` keeps for commands |
 * | `ts <file> fails` | checks the types and writes the file, which a command is to complain of |
 * | `html` | opens it in Chromium and takes part |
 * | `python` | runs it, or without PyTorch compares its layers with the exported file |
 * | `text` | nothing: a drawing |
 *
 * A `ts` block without an import of its own goes on where the one before it ended.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { marked, type Tokens } from "marked";
import { packageRoot } from "../../cli/root.ts";

const LANGUAGES = ["sh", "output", "ts", "html", "python", "text"] as const;
export type Language = (typeof LANGUAGES)[number];

export interface Block {
  readonly language: Language;
  /** Words after the language. */
  readonly words: readonly string[];
  readonly code: string;
}

export interface Page {
  /** Path from the repository's root. */
  readonly path: string;
  readonly blocks: readonly Block[];
}

/** Code tokens in order, those within lists and quotations as well. */
function codeOf(markdown: string): Tokens.Code[] {
  const found: Tokens.Code[] = [];
  marked.walkTokens(marked.lexer(markdown), (token) => {
    if (token.type === "code") found.push(token as Tokens.Code);
  });
  return found;
}

function readBlock(path: string, { lang, text, codeBlockStyle }: Tokens.Code): Block {
  const [name, ...words] = codeBlockStyle === "indented" ? ["sh"] : (lang ?? "").split(/\s+/);
  const language = LANGUAGES.find((known) => known === name);
  if (language === undefined) {
    throw new Error(`${path}: a block of "${lang}", which nobody runs: expected ${LANGUAGES.join(", ")}\n${text}`);
  }
  return { language, words, code: text };
}

/** Continuations joined to what they continue: the programs of a page as they are run. */
function joinPrograms(blocks: readonly Block[]): Block[] {
  const joined: Block[] = [];
  for (const block of blocks) {
    const at = joined.findLastIndex(({ language }) => language === "ts");
    const before = joined[at];
    if (block.language !== "ts" || /^import /m.test(block.code) || before === undefined) joined.push(block);
    else joined[at] = { ...before, code: `${before.code}\n${block.code}` };
  }
  return joined;
}

export function readPage(path: string): Page {
  const markdown = readFileSync(join(packageRoot, path), "utf8");
  return { path, blocks: joinPrograms(codeOf(markdown).map((token) => readBlock(path, token))) };
}

export const PAGES: readonly string[] = [
  "README.md",
  "CONTRIBUTING.md",
  ...readdirSync(join(packageRoot, "docs"))
    .filter((name) => name.endsWith(".md"))
    .sort()
    .map((name) => `docs/${name}`),
];
