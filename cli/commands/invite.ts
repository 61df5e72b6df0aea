/** `commonweight invite`: a link for others to take part in a session that is by invitation, or to watch it. */

import { type Command, Option } from "commander";
import { CAPABILITIES, type Capability } from "../../shared/session/access.ts";
import { type AccessOptions, openSession } from "../access.ts";
import { createCommand, dataOption, serverOption } from "../arguments.ts";
import { duration, inviteTo } from "../invitation.ts";

interface InviteOptions extends AccessOptions {
  readonly for: Capability;
  readonly expires: number;
  readonly revoke: boolean;
  readonly json: boolean;
}

async function invite(session: string, options: InviteOptions): Promise<void> {
  const { api, id } = await openSession(session, options);
  if (options.revoke) {
    const { closed } = await api.revokeInvitations(id);
    console.log(`every invitation so far is taken back; ${closed} who came by one were sent away`);
    return;
  }
  const { link, expires } = await inviteTo(api, id, options.for, options.expires);
  if (options.json) console.log(JSON.stringify({ link, capability: options.for, expires: expires.toISOString() }));
  else {
    console.log(link);
    console.error(`good until ${expires.toISOString().slice(0, 16).replace("T", " ")} UTC, for whoever has it`);
  }
}

export function inviteCommand(): Command {
  const examples = [
    "invite http://127.0.0.1:8787/s/0123456789abcdef0123456789abcdef01",
    "invite 0123456789abcdef0123456789abcdef03 --for observe --expires 12h",
    "invite 0123456789abcdef0123456789abcdef01 --revoke",
  ];
  return createCommand("invite", "make a link for a session that is by invitation, or take all of them back", examples)
    .argument("<session>", "its link, https://host/s/<id>, or its id")
    .addOption(
      new Option(
        "--for <capability>",
        "join: compute and read; observe: read alone; admin: also pause, stop and delete it",
      )
        .choices(CAPABILITIES)
        .default("join"),
    )
    .addOption(
      new Option("--expires <time>", "how long the link is good: minutes, hours or days, as 90m, 12h or 7d")
        .argParser(duration)
        .default(duration("7d"), "7d"),
    )
    .option("--revoke", "take back every invitation that was made so far, also those of train", false)
    .option("--json", "the link as a JSON object", false)
    .addOption(serverOption())
    .addOption(dataOption())
    .addHelpText(
      "after",
      `
Whoever has the link can use it, as often as they like, until it expires. Sessions say with access in their file whether they
are by invitation (docs/session-file.md). The admin secret can make invitations, and so can who holds one for admin.`,
    )
    .action(invite);
}
