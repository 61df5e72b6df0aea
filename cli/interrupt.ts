/** Commands that run for long: what they started is taken down when they end, however that comes about. */

import type { Display } from "./display.ts";

/** What a run takes down when it ends, in reverse order. */
export type Cleanup = (() => Promise<void> | void)[];

/** Milliseconds in which further signals are echoes: npm and the terminal each pass on the same one. */
const ECHO = 1_000;

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** What hears signals while a command runs. */
const heard = new Set<() => void>();

/** Miniflare ends the process at a signal, before anything could be taken down: from now on it does not hear of any. */
export function takeSignals(): void {
  for (const signal of SIGNALS) {
    for (const listener of process.listeners(signal) as (() => void)[]) {
      if (!heard.has(listener)) process.off(signal, listener);
    }
  }
}

/** Runs `action`, and then what it asked to be taken down. On a signal that says `farewell` and ends the process. */
export async function untilInterrupted(
  display: Display,
  farewell: string,
  action: (cleanup: Cleanup) => Promise<void>,
): Promise<void> {
  const cleanup: Cleanup = [];
  const tidy = async (): Promise<void> => {
    while (cleanup.length > 0) await cleanup.pop()?.();
  };
  let interruptedAt: number | null = null;
  const onSignal = (): void => {
    if (interruptedAt !== null) {
      if (performance.now() - interruptedAt > ECHO) process.exit(130);
      return;
    }
    interruptedAt = performance.now();
    display.end();
    display.say(farewell);
    void tidy().finally(() => process.exit(130));
  };
  heard.add(onSignal);
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    await action(cleanup);
  } catch (error) {
    // What fails while everything is taken down is no news; the process ends when that is done.
    if (interruptedAt !== null) await new Promise(() => {});
    throw error;
  } finally {
    display.end();
    await tidy();
  }
}
