/** What the wire carries: bytes of each way over it, measured at the socket, and what each way does to a training. */

import { type RaceResult, runRace } from "../harness/race.ts";
import type { Section } from "../harness/section.ts";
import { lossRace } from "./loss.ts";
import { TRAININGS } from "./programs.ts";
import { trafficRace } from "./traffic.ts";
import { QUICK_WAYS, WAYS } from "./ways.ts";

/** Seeds that losses are compared over. */
const SEEDS = 5;

export const section: Section = {
  async run({ quick, wants, rounds, show }, say) {
    const results: RaceResult[] = [];
    const ways = quick ? QUICK_WAYS : WAYS;
    if (wants("traffic")) {
      const result = await runRace(trafficRace(ways, quick), quick ? 1 : rounds, say);
      show(result);
      results.push(result);
    }
    for (const [name, training] of Object.entries(TRAININGS)) {
      if (!wants(`${name}-loss`)) continue;
      const result = await runRace(lossRace(name, training, ways, quick), quick ? 1 : SEEDS, say);
      show(result);
      results.push(result);
    }
    return results;
  },
};
