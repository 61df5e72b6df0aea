/**
 * What a volunteer and a researcher wait for: a step of a real session, the first gradient after a page is opened, and
 * a test accuracy, each with a real coordinator and headless Chromium.
 */

import { type RaceResult, runRace } from "../harness/race.ts";
import type { Section } from "../harness/section.ts";
import { firstGradientRace } from "./first-gradient.ts";
import { smallMnist, wholeMnist } from "./mnist.ts";
import { QUICK_STEP_WORKLOADS, STEP_WORKLOADS, stepRace } from "./step.ts";
import { LocalCoordinator, OUR_PAGE, TabHouse } from "./tabs.ts";

export const section: Section = {
  async run(options, say) {
    const { quick, wants, rounds, show } = options;
    const results: RaceResult[] = [];
    const steps = Object.entries(quick ? QUICK_STEP_WORKLOADS : STEP_WORKLOADS).filter(([name]) => wants(name));
    if (steps.length > 0) {
      const house = await TabHouse.open(OUR_PAGE);
      const coordinator = await LocalCoordinator.start(smallMnist());
      try {
        for (const [name, workload] of steps) {
          const { race, finished } = await stepRace(name, workload, house, coordinator);
          try {
            const result = await runRace(race, rounds, say);
            show(result);
            results.push(result);
          } finally {
            await finished();
          }
        }
      } finally {
        await house.stop();
        await coordinator.stop();
      }
    }
    if (wants("first-gradient")) {
      const coordinator = await LocalCoordinator.start(wholeMnist());
      try {
        const result = await runRace(firstGradientRace(coordinator), rounds, say);
        show(result);
        results.push(result);
      } finally {
        await coordinator.stop();
      }
    }
    return results;
  },
};
