/** The command line: what can be asked. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { controlCommands } from "./commands/control.ts";
import { datasetCommand } from "./commands/dataset.ts";
import { deleteCommand } from "./commands/delete.ts";
import { deployCommand } from "./commands/deploy.ts";
import { devCommand } from "./commands/dev.ts";
import { exportCommand } from "./commands/export.ts";
import { generateCommand } from "./commands/generate.ts";
import { importCommand } from "./commands/import.ts";
import { initCommand } from "./commands/init.ts";
import { inviteCommand } from "./commands/invite.ts";
import { journalCommand } from "./commands/journal.ts";
import { lrFindCommand } from "./commands/lr-find.ts";
import { sessionsCommand } from "./commands/sessions.ts";
import { trainCommand } from "./commands/train.ts";
import { volunteerCommand } from "./commands/volunteer.ts";
import { watchCommand } from "./commands/watch.ts";
import { describe } from "./errors.ts";
import { plain } from "./foreign-text.ts";
import { packageRoot } from "./root.ts";

/** Most characters of a line of an error. */
const LINE = 2_000;

export function createProgram(): Command {
  const { version } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as { version: string };
  const program = new Command("commonweight")
    .description("Train neural networks in the browsers of whoever wants to help.")
    .version(version)
    .commandsGroup("Train:")
    .addCommand(initCommand())
    .addCommand(importCommand())
    .addCommand(lrFindCommand())
    .addCommand(trainCommand())
    .addCommand(watchCommand())
    .addCommand(exportCommand())
    .addCommand(generateCommand())
    .addCommand(datasetCommand())
    .commandsGroup("Take part:")
    .addCommand(volunteerCommand())
    .commandsGroup("Run a coordinator:")
    .addCommand(devCommand())
    .addCommand(deployCommand())
    .addCommand(sessionsCommand())
    .addCommand(inviteCommand())
    .addCommand(journalCommand());
  for (const command of controlCommands()) program.addCommand(command);
  return program
    .addCommand(deleteCommand())
    .addHelpText("after", "\nEach command has its own help: commonweight train --help");
}

/** Runs one command and answers the process's exit code. What goes wrong is told on standard error. */
export async function main(args: readonly string[]): Promise<number> {
  // Whoever read the output has gone: nobody is left to tell.
  process.stdout.on("error", () => process.exit(1));
  try {
    await createProgram().parseAsync([...args], { from: "user" });
    return 0;
  } catch (error) {
    // A complaint may quote a file or a coordinator, of whoever's making.
    const lines = describe(error, args.includes("--debug")).split("\n");
    process.stderr.write(`${lines.map((line) => plain(line, LINE)).join("\n")}\n`);
    return 1;
  }
}
