/**
 * What a volunteer and a researcher wait for: a step of a real session, the first gradient after a page is opened, and
 * a test accuracy, each with a real coordinator and headless Chromium.
 */

import { LocalCoordinator } from "../harness/local-coordinator.ts";
import { smallMnist, wholeMnist } from "../harness/mnist.ts";
import { type Race, type RaceResult, runRace } from "../harness/race.ts";
import { installRivals } from "../harness/rivals.ts";
import type { BenchOptions, Section } from "../harness/section.ts";
import { accuracyRace, type Lesson, RIVALS_PAGE, searchBest, serveRivals } from "./accuracy.ts";
import { firstGradientRace } from "./first-gradient.ts";
import { FILES, servePictures } from "./pictures.ts";
import { QUICK_STEP_WORKLOADS, STEP_WORKLOADS, stepRace } from "./step.ts";
import { OUR_PAGE, TabHouse } from "./tabs.ts";

const LESSON: Lesson = { target: 0.97, samples: 60_000 };
/** On the test's own pictures. */
const QUICK_LESSON: Lesson = { target: 0.5, samples: 10_000 };
/** Pictures that examples/mnist.ts learns from. */
const LEARNT = 55_000;

type Say = (line: string) => void;
type Run = (race: Race, rounds?: number) => Promise<void>;

async function runSteps({ quick, wants }: BenchOptions, run: Run): Promise<void> {
  const chosen = Object.entries(quick ? QUICK_STEP_WORKLOADS : STEP_WORKLOADS).filter(([name]) => wants(name));
  if (chosen.length === 0) return;
  await using house = await TabHouse.open(OUR_PAGE);
  servePictures(house, ["testImages", "testLabels"]);
  await using coordinator = await LocalCoordinator.start(smallMnist());
  for (const [name, workload] of chosen) {
    const { race, finished } = await stepRace(name, workload, house, coordinator);
    try {
      await run(race);
    } finally {
      await finished();
    }
  }
}

async function runFirstGradient({ wants, quick }: BenchOptions, run: Run): Promise<void> {
  if (!wants("first-gradient")) return;
  await using coordinator = await LocalCoordinator.start(quick ? smallMnist() : wholeMnist());
  await run(firstGradientRace(coordinator, quick ? QUICK_LESSON.samples : LEARNT));
}

async function runAccuracy({ wants, quick, rivals, search }: BenchOptions, run: Run, say: Say): Promise<void> {
  if (!wants("accuracy")) return;
  if (rivals) await installRivals(say);
  await using house = await TabHouse.open({ ...OUR_PAGE, ...(rivals ? RIVALS_PAGE : {}) });
  servePictures(house, Object.keys(FILES) as (keyof typeof FILES)[]);
  if (rivals) serveRivals(house);
  await using coordinator = await LocalCoordinator.start(quick ? smallMnist() : wholeMnist());
  const options = { house, coordinator, rivals, lesson: quick ? QUICK_LESSON : LESSON };
  if (search) await searchBest(options, say);
  else await run(accuracyRace(options));
}

export const section: Section = {
  async run(options, say) {
    const results: RaceResult[] = [];
    const run: Run = async (race, rounds = options.rounds) => {
      const result = await runRace(options.quick ? { ...race, claims: [] } : race, rounds, say);
      options.show(result);
      results.push(result);
    };
    if (!options.search) {
      await runSteps(options, run);
      await runFirstGradient(options, run);
    }
    await runAccuracy(options, run, say);
    return results;
  },
};
