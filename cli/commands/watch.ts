/** `commonweight watch`: how a session goes, from any terminal. */

import type { Command } from "commander";
import { planRun } from "../../shared/session/plan.ts";
import { type AccessOptions, openSession } from "../access.ts";
import { createCommand, dataOption, serverOption } from "../arguments.ts";
import { createDisplay } from "../display.ts";
import { summarize } from "../summary.ts";
import { watchSession } from "../watch.ts";

async function watch(link: string | undefined, options: AccessOptions & { readonly json: boolean }): Promise<void> {
  const { api, id } = await openSession(link, options);
  const session = await api.readSession(id);
  const display = createDisplay(options);
  try {
    display.emit({
      type: "session",
      id,
      url: `${api.server}/s/${id}`,
      title: session.definition.title,
      parameters: session.parameters,
      totalSteps: planRun(session.definition).totalSteps,
    });
    const ending = await watchSession({ api, session, volunteers: null, display, onEpoch: null });
    display.end();
    display.say("");
    display.say(`${ending.status} after ${ending.steps} steps`);
    const { summary } = await summarize(api, session, ending, display);
    display.emit({ type: ending.status, ...summary });
  } finally {
    display.end();
  }
}

export function watchCommand(): Command {
  const examples = [
    "watch",
    "watch http://127.0.0.1:8787/s/0123456789abcdef0123456789abcdef",
    "watch 0123456789abcdef0123456789abcdef",
    "watch https://host/s/0123456789abcdef0123456789abcdef --json | jq .loss",
  ];
  return createCommand("watch", "show how a session goes, until it ends", examples)
    .argument("[session]", "its link, https://host/s/<id>, or its id; by default the coordinator's newest")
    .option("--json", "one JSON object a line on standard output: session, status, step, epoch, finished", false)
    .addOption(serverOption())
    .addOption(dataOption())
    .addHelpText(
      "after",
      `
Looking on changes nothing: the session goes on when this ends. The exit code is 0 if the session finished or was stopped,
and 1 if it failed or was deleted.`,
    )
    .action(watch);
}
