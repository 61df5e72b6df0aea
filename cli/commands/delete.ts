/** `commonweight delete`: a session and everything it holds. */

import type { Command } from "commander";
import { type AccessOptions, openSession } from "../access.ts";
import type { SessionDescription } from "../api.ts";
import { createCommand, dataOption, serverOption, yesOption } from "../arguments.ts";
import { confirm } from "../confirm.ts";
import { plain } from "../foreign-text.ts";

/** What becomes of those who take part now. */
function consequence({ progress }: SessionDescription): string {
  const count = progress.clientCount;
  if (count === 0) return "Nobody takes part at the moment.";
  return count === 1
    ? "Somebody takes part at the moment, and will be told that it was deleted."
    : `${count} take part at the moment, and each will be told that it was deleted.`;
}

async function deleteSession(link: string, options: AccessOptions & { readonly yes: boolean }): Promise<void> {
  const { api, id } = await openSession(link, options);
  const session = await api.readSession(id);
  const { definition, progress } = session;
  const what = `“${plain(definition.title, 80)}” at step ${progress.step} of ${progress.totalSteps}`;
  await confirm(`This deletes ${what}, its weights and its record. ${consequence(session)}`, options);
  await api.deleteSession(id);
  const told = progress.clientCount === 0 ? "" : `; ${progress.clientCount} who took part were told`;
  console.log(`${what} is deleted${told}`);
}

export function deleteCommand(): Command {
  const examples = [
    "delete http://127.0.0.1:8787/s/0123456789abcdef0123456789abcdef",
    "delete 0123456789abcdef0123456789abcdef --yes",
  ];
  return createCommand("delete", "delete a session with its weights and its record, for good", examples)
    .argument("<session>", "its link, https://host/s/<id>, or its id")
    .addOption(yesOption())
    .addOption(serverOption())
    .addOption(dataOption())
    .addHelpText(
      "after",
      `
Who takes part is told that the session was deleted, and stops. To end a training and keep its weights, export them first.
Its data set stays: commonweight dataset delete.`,
    )
    .action(deleteSession);
}
