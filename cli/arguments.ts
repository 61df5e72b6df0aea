/** What the commands' arguments may be, and the options that several of them share. */

import { Command, InvalidArgumentError, Option } from "commander";
import { tokenOf } from "../client/core/token.ts";
import { CliError } from "./errors.ts";
import { DEFAULT_STATE } from "./state.ts";

export const ENGINES = ["auto", "webgpu", "wasm"] as const;
export type VolunteerEngine = (typeof ENGINES)[number];

/** A parser of whole numbers from `least` to `most`. */
export function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}`);
    }
    return value;
  };
}

/** A parser of numbers from `least` to `most`. */
export function real(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !(value >= least && value <= most)) {
      throw new InvalidArgumentError(`expected a number from ${least} to ${most}`);
    }
    return value;
  };
}

/** A number above 0, as 1e-3. */
export function positive(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value <= 0) {
    throw new InvalidArgumentError("expected a number above 0");
  }
  return value;
}

/** Engines by a comma list, in order. */
export function engineList(text: string): VolunteerEngine[] {
  return text.split(",").map((name) => {
    const engine = ENGINES.find((known) => known === name.trim());
    if (engine === undefined) throw new InvalidArgumentError(`engines are ${ENGINES.join(", ")}`);
    return engine;
  });
}

/** One engine a volunteer: the list in order, and again from its start. */
export function assignEngines(list: readonly VolunteerEngine[], volunteers: number): VolunteerEngine[] {
  return Array.from({ length: volunteers }, (_, index) => list[index % list.length] ?? "auto");
}

/** A session by its link `https://host/s/<id>` or by its bare id; `server` is null where only the id is given. */
export function parseSession(text: string): {
  readonly server: string | null;
  readonly id: string;
  /** Of the invitation in the link. */
  readonly token: string | undefined;
} {
  const [, server, id, fragment = ""] =
    /^(?:(https?:\/\/.+)\/s\/)?([0-9a-f]{32}(?:[0-9a-f]{2})?)\/?(?:\?[^#]*)?(#.*)?$/.exec(text.trim()) ?? [];
  if (id === undefined) {
    throw new CliError(
      `${text} is no session: expected its link, https://host/s/<id>, or an id of 32 or 34 hex characters`,
    );
  }
  return { server: server ?? null, id, token: tokenOf(fragment) };
}

/** Exactly two files. Throws CliError otherwise. */
export function pairOf(files: readonly string[], option: string): [images: string, labels: string] {
  const [images, labels] = files;
  if (files.length !== 2 || images === undefined || labels === undefined) {
    throw new CliError(`${option} takes two files, images and then labels; ${files.length} came: ${files.join(" ")}`);
  }
  return [images, labels];
}

export const dataOption = (): Option =>
  new Option("--data <folder>", "where the local coordinator keeps its storage and secret").default(DEFAULT_STATE);

export const portOption = (text: string): Option => new Option("--port <n>", text).argParser(whole(0, 65_535));

export const volunteersOption = (): Option =>
  new Option("--volunteers <n>", "how many to start here; 0 leaves it to whoever opens the link")
    .argParser(whole(0, 64))
    .default(2);

export const engineOption = (): Option =>
  new Option("--engine <list>", "auto, webgpu or wasm; a comma list assigns engines to volunteers in order")
    .argParser(engineList)
    .default(["auto"], "auto");

export const seedOption = (): Option =>
  new Option("--seed <n>", "instead of the file's").argParser(whole(0, 0xffffffff));

export const nodeOption = (): Option =>
  new Option("--node", "volunteers as Node processes, even if there is a browser").default(false);

/** For commands that otherwise start a coordinator of their own. */
export const ownServerOption = (): Option =>
  new Option(
    "--server <url>",
    "use a running coordinator (its secret in COMMONWEIGHT_ADMIN_SECRET) instead of a local one",
  ).conflicts("port");

export const serverOption = (): Option =>
  new Option("--server <url>", "a running coordinator; by default the local one of --data, as started by dev");

export const yesOption = (): Option => new Option("--yes", "do not ask").default(false);

/** A command as all of them are. */
export function createCommand(name: string, description: string, examples: readonly string[]): Command {
  return new Command(name)
    .description(description)
    .option("--debug", "show where an error came from", false)
    .showHelpAfterError(`(commonweight ${name} --help lists what can be given)`)
    .addHelpText("after", `\nExamples:\n${examples.map((example) => `  commonweight ${example}`).join("\n")}`);
}
