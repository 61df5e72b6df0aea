/** `commonweight volunteer`: the SDK in Node, with a line now and then. */

import { joinTraining } from "../client/node/index.ts";
import { CliError, messageOf } from "./errors.ts";
import { plain } from "./foreign-text.ts";

export interface VolunteerCommandOptions {
  readonly engine: "auto" | "wasm" | "native";
  readonly workers?: number;
  /** Of the time, 0 < share ≤ 1. */
  readonly share: number;
  readonly name?: string;
  readonly quiet: boolean;
}

/** Takes part until the session ends or this process is asked to leave. Throws CliError if it has to give up. */
export async function volunteer(
  url: string,
  { engine, workers, share, name, quiet }: VolunteerCommandOptions,
): Promise<void> {
  const controller = new AbortController();
  const leave = (): void => controller.abort();
  process.once("SIGINT", leave);
  process.once("SIGTERM", leave);
  // Whoever started it over a channel is gone: nobody would ever send it home.
  if (process.connected) process.once("disconnect", leave);
  const say = (line: string): void => {
    if (!quiet) console.log(line);
  };
  try {
    const handle = await joinTraining(url, {
      engine,
      signal: controller.signal,
      share,
      // Whoever gives all of a machine is not asked whether it is busy.
      ...(share === 1 ? { policies: { slow: "continue" } } : {}),
      ...(workers === undefined ? {} : { workers }),
      ...(name === undefined ? {} : { name }),
    });
    say(`taking part in ${plain(handle.session.title)} as ${handle.clientId.slice(0, 8)} (${handle.device})`);
    handle.on("status", ({ status, reason }) => {
      if (status === "connecting") say(`connecting again: ${plain(reason)}`);
    });
    handle.on("error", ({ message, fatal }) => {
      if (!fatal) say(plain(message, 500));
    });
    const ticker = setInterval(() => {
      const { step, totalSteps, loss } = handle.progress;
      const figure = loss === null ? "" : `, loss ${loss.toFixed(4)}`;
      say(`${handle.status} · step ${step}/${totalSteps}${figure} · ${handle.contributed.samples} samples computed`);
    }, 10_000);
    const { outcome, reason, contributed } = await handle.finished.finally(() => clearInterval(ticker));
    if (outcome === "failed") throw new CliError(`the session failed: ${plain(reason)}`);
    say(`${outcome}: ${contributed.samples} samples computed`);
  } catch (error) {
    if (controller.signal.aborted) return;
    throw error instanceof CliError ? error : new CliError(plain(messageOf(error), 500), { cause: error });
  }
}
