/** `commonweight pause`, `resume` and `stop`: a session that goes on without its operator is told what to do. */

import type { Command } from "commander";
import { type AccessOptions, openSession } from "../access.ts";
import { createCommand, dataOption, serverOption } from "../arguments.ts";

const ACTIONS = {
  pause: ["pause a session; whoever takes part stays, and waits", "paused"],
  resume: ["let a paused session go on, also one that paused itself", "running"],
  stop: ["stop a session for good; its weights and its record stay", "stopped"],
} as const;

function controlCommand(action: keyof typeof ACTIONS): Command {
  const [summary, done] = ACTIONS[action];
  return createCommand(action, summary, [`${action} 0123456789abcdef0123456789abcdef`])
    .argument("<session>", "its link, https://host/s/<id>, or its id")
    .addOption(serverOption())
    .addOption(dataOption())
    .action(async (link: string, options: AccessOptions) => {
      const { api, id } = await openSession(link, options);
      await api.control(id, action);
      console.log(`${id} is ${done}`);
    });
}

export const controlCommands = (): Command[] => [
  controlCommand("pause"),
  controlCommand("resume"),
  controlCommand("stop"),
];
