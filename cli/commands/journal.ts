/** `commonweight journal`: what happened to a session, for its operator. */

import type { Command } from "commander";
import { type AccessOptions, openSession } from "../access.ts";
import { createCommand, dataOption, serverOption } from "../arguments.ts";
import { plain, plainJson } from "../foreign-text.ts";

async function showJournal(link: string, options: AccessOptions & { readonly json: boolean }): Promise<void> {
  const { api, id } = await openSession(link, options);
  const { events } = await api.readJournal(id);
  for (const entry of [...events].reverse()) {
    if (options.json) {
      console.log(plainJson(entry));
      continue;
    }
    const time = new Date(entry.time).toISOString().slice(0, 19).replace("T", " ");
    console.log(`${time}  ${plain(entry.event, 20).padEnd(12)}  ${plain(entry.detail, 500)}`.trimEnd());
  }
}

export function journalCommand(): Command {
  const examples = ["journal 0123456789abcdef0123456789abcdef", "journal 0123456789abcdef0123456789abcdef --json"];
  return createCommand("journal", "show what happened to a session: pauses and why, recoveries, refusals", examples)
    .argument("<session>", "its link, https://host/s/<id>, or its id")
    .option("--json", "one JSON object a line", false)
    .addOption(serverOption())
    .addOption(dataOption())
    .addHelpText("after", "\nTimes are UTC. Of what comes again and again only the newest entries are kept.")
    .action(showJournal);
}
