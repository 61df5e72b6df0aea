/** `commonweight dev`: a local coordinator that keeps its state, until it is interrupted. */

import type { Command } from "commander";
import { createCommand, dataOption, portOption } from "../arguments.ts";
import { startCoordinator } from "../coordinator.ts";
import { CliError } from "../errors.ts";
import { describeSharing, EVERYWHERE } from "../share.ts";
import { claimState } from "../state.ts";

interface DevOptions {
  readonly port?: number;
  readonly data: string;
  readonly share: boolean;
}

async function runDev({ port, data, share }: DevOptions): Promise<void> {
  const state = claimState(data);
  if (state === null) {
    throw new CliError(`another coordinator uses ${data}: stop it, or choose another folder with --data`);
  }
  const say = (line: string): void => console.log(line);
  const insist = port !== undefined && port !== 0;
  const coordinator = await startCoordinator({ state, port, insist, say, ...(share ? { host: EVERYWHERE } : {}) });
  say(`coordinator ${coordinator.url}`);
  say(`its admin secret is in ${state.path}/admin-secret; other commands on this machine find it there by --data`);
  say(`what it logs is in ${coordinator.log}`);
  if (share) for (const line of describeSharing(new URL(coordinator.url).port)) say(line);
  await new Promise<void>((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
  });
  await coordinator.stop();
  state.release();
}

export function devCommand(): Command {
  const examples = ["dev", "dev --port 9000 --data /var/lib/commonweight", "dev --share"];
  return createCommand("dev", "run a local coordinator that keeps its state, until it is interrupted", examples)
    .addOption(portOption("to listen on; by default that of last time, at first 8787"))
    .addOption(dataOption())
    .option("--share", "for others in the same network, too: shows the addresses, and one for a phone's camera", false)
    .action(runDev);
}
