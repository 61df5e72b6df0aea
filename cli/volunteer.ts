/** `commonweight volunteer`: the SDK in Node, with a line now and then. */

import { joinTraining } from "../client/node/index.ts";
import { CliError } from "./errors.ts";

export interface VolunteerCommandOptions {
  readonly engine: "auto" | "wasm" | "native";
  readonly workers: number | undefined;
  readonly quiet: boolean;
}

export async function volunteer(url: string, { engine, workers, quiet }: VolunteerCommandOptions): Promise<void> {
  const controller = new AbortController();
  process.once("SIGINT", () => controller.abort());
  process.once("SIGTERM", () => controller.abort());
  const say = (line: string): void => {
    if (!quiet) console.log(line);
  };
  const handle = await joinTraining(url, {
    engine,
    signal: controller.signal,
    ...(workers === undefined ? {} : { workers }),
  });
  say(`taking part in ${handle.session.title} as ${handle.clientId.slice(0, 8)} (${handle.device})`);
  handle.on("status", ({ status, reason }) => say(reason === "" ? status : `${status}: ${reason}`));
  const { outcome, reason } = await handle.finished;
  const { samples } = handle.contributed;
  if (outcome === "failed") throw new CliError(`the session failed: ${reason}`);
  say(`${outcome}: ${samples} samples computed`);
}
