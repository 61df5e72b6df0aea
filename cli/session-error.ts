/**
 * Where in a session file an error came from. Errors of Node's parser carry the place at the head of their stack; those that
 * are thrown while the file runs, by the package's own layers too, have a frame of the file in it. What turns out wrong only
 * when the whole session is checked is looked up in the text.
 */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { CliError, messageOf } from "./errors.ts";
import { packageRoot } from "./root.ts";

interface Place {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  readonly column: number;
}

/** Frames of these are ours: the fault is with whoever called them. */
const OWN_FOLDERS = ["bin", "cli", "client", "dist", "node_modules", "shared", "workers"].map(
  (folder) => join(packageRoot, folder) + sep,
);
/** Characters of the source line that are shown: it may be one of a minified file. */
const MAX_WIDTH = 160;

/** The path of a file of the user's own, or null. */
function userFile(name: string): string | null {
  if (name.startsWith("node:")) return null;
  const file = name.startsWith("file:") ? fileURLToPath(name.replace(/[?#].*$/, "")) : name;
  return OWN_FOLDERS.some((folder) => file.startsWith(folder)) ? null : file;
}

/** The head of a parser's report: `<file>:<line>`, the source line, and carets below the place. */
function placeOfReport(report: string): Place | null {
  const lines = report.split("\n");
  for (const [index, text] of lines.entries()) {
    const [, name, line] = /^((?:file:|\/|[A-Za-z]:\\).*):(\d+)$/.exec(text.trimEnd()) ?? [];
    const carets = lines.slice(index + 1, index + 4).find((below) => /^\s*\^+\s*$/.test(below));
    const file = name === undefined ? null : userFile(name);
    if (file !== null && carets !== undefined) return { file, line: Number(line), column: carets.indexOf("^") + 1 };
  }
  return null;
}

/** The innermost frame of a user's file. */
function placeOfFrame(stack: string): Place | null {
  for (const text of stack.split("\n")) {
    const [, name, line, column] = /^\s*at (?:.*\()?((?:file:|\/|[A-Za-z]:\\).*):(\d+):(\d+)\)?$/.exec(text) ?? [];
    const file = name === undefined ? null : userFile(name);
    if (file !== null) return { file, line: Number(line), column: Number(column) };
  }
  return null;
}

/** JavaScript that does not parse: only Node's own check tells the place. */
function placeByCheck(path: string): Place | null {
  const { stderr } = spawnSync(process.execPath, ["--check", path], { encoding: "utf8", timeout: 10_000 });
  return placeOfReport(stderr ?? "");
}

/** `file:line:column: complaint`, and the line with a caret below the column. */
function show({ file, line, column }: Place, complaint: string): string {
  const head = `${relative(".", file)}:${line}:${column}: ${complaint}`;
  const source = readFileSync(file, "utf8").split("\n")[line - 1];
  if (source === undefined || column > MAX_WIDTH) return head;
  const number = String(line).padStart(5);
  // Tabs stay, so that the caret is below its character however wide they are.
  const before = source.slice(0, column - 1).replace(/[^\t]/g, " ");
  return `${head}\n${number} | ${source.slice(0, MAX_WIDTH).trimEnd()}\n${" ".repeat(number.length)} | ${before}^`;
}

function toCliError(path: string, place: Place | null, error: unknown): CliError {
  const complaint = messageOf(error);
  return new CliError(place === null ? `${relative(".", path)}: ${complaint}` : show(place, complaint), {
    cause: error,
  });
}

/** A CliError that says where a session file failed while it was loaded. */
export function locateFailure(path: string, error: unknown): CliError {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  const place = placeOfReport(stack) ?? placeOfFrame(stack);
  return toCliError(path, place ?? (error instanceof SyntaxError ? placeByCheck(path) : null), error);
}

const escapeRegExp = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");

/** Where a pattern matches, if that is once: one of several would be a guess. */
function placeOfPattern(path: string, pattern: RegExp): Place | null {
  const source = readFileSync(path, "utf8");
  const matches = [...source.matchAll(pattern)];
  if (matches.length !== 1) return null;
  const [{ index }] = matches;
  const before = source.slice(0, index).split("\n");
  return { file: path, line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

/**
 * A CliError for a session that loads and is refused: at the column's name if that is unknown, else at the option that the
 * complaint begins with, else where the data or the session are defined.
 */
export function locateComplaint(path: string, error: unknown): CliError {
  const complaint = messageOf(error);
  const column = /no column (\S+);/.exec(complaint)?.[1];
  const option = /^(\w+):/.exec(complaint)?.[1];
  const place =
    (column === undefined ? null : placeOfPattern(path, new RegExp(`(["'\`])${escapeRegExp(column)}\\1`, "g"))) ??
    (option === undefined ? null : placeOfPattern(path, new RegExp(`(?<=^[ \\t]*)${option}(?=\\s*[:,])`, "gm"))) ??
    (complaint.startsWith("data.") ? placeOfPattern(path, /\bdataset\(/g) : null) ??
    placeOfPattern(path, /\bdefineSession\(/g);
  return toCliError(path, place, error);
}
