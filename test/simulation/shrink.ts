/** Makes a failing scenario smaller for as long as it still fails: fewer faults, fewer volunteers, fewer steps. */

import type { Scenario } from "./scenario.ts";

/** Real milliseconds after which it is small enough. */
const LIMIT = 20_000;

/** Smaller scenarios to try, the boldest first. */
function* smaller(scenario: Scenario): Generator<Scenario> {
  const { clients, steps, faults } = scenario;
  for (const fewer of [1, 2, Math.floor(clients / 2), clients - 1]) {
    if (fewer >= 1 && fewer < clients) yield { ...scenario, clients: fewer };
  }
  for (const fault of faults) yield { ...scenario, faults: faults.filter((other) => other !== fault) };
  for (const fewer of [1, 2, Math.floor(steps / 2), steps - 1]) {
    if (fewer >= 1 && fewer < steps) yield { ...scenario, steps: fewer };
  }
}

/** What is wrong, without the figures: another fault that a smaller scenario has is not the one that was found. */
const kindOf = (message: string): string => message.replaceAll(/\d+/g, "").slice(0, 24);

/** @param fails says why a scenario fails, null if it does not */
export async function shrink(
  scenario: Scenario,
  message: string,
  fails: (scenario: Scenario) => Promise<string | null>,
  now: () => number,
): Promise<{ scenario: Scenario; message: string; runs: number }> {
  const begun = now();
  let least = { scenario, message };
  let runs = 0;
  for (let isSmaller = true; isSmaller; ) {
    isSmaller = false;
    for (const candidate of smaller(least.scenario)) {
      if (now() - begun > LIMIT) return { ...least, runs };
      runs += 1;
      const why = await fails(candidate);
      if (why === null || kindOf(why) !== kindOf(message)) continue;
      least = { scenario: candidate, message: why };
      isSmaller = true;
      break;
    }
  }
  return { ...least, runs };
}
