/**
 * Where every millisecond of a step goes: MNIST's MLP, a real workerd and two volunteers in Node on WASM, one thread each. Two tables
 * of one run: the turn of the volunteer that a step waited for, and what the coordinator did meanwhile.
 */

import { type Contestant, type RaceResult, runRace } from "../harness/race.ts";
import type { BenchOptions, Section } from "../harness/section.ts";
import { STAGES, type StageName } from "./stages.ts";
import { recordTimeline, type Timeline } from "./trial.ts";

const BATCH = 256;
const STEPS = 130;
const QUICK_STEPS = 10;

/** Phases as coordinator/session/tally.ts names them. */
const PHASES = ["admit", "add", "prepare", "log", "update", "checkpoint", "broadcast"] as const;

/** One recording a round, whoever asks for it first. */
function recordings({ quick }: BenchOptions, batch: number): (round: number) => Promise<Timeline> {
  const held: Promise<Timeline>[] = [];
  return (round) => {
    held[round] ??= recordTimeline(quick ? QUICK_STEPS : STEPS, batch, quick);
    return held[round];
  };
}

function row(name: string, recordingOf: (round: number) => Promise<Timeline>, read: (timeline: Timeline) => number) {
  let round = 0;
  const contestant: Contestant = {
    name,
    ours: true,
    prepare: async () => ({}),
    measure: async () => read(await recordingOf(round++)),
  };
  return contestant;
}

const sumOf = (values: Readonly<Record<string, number>>): number =>
  Object.values(values).reduce((sum, value) => sum + value, 0);

export const section: Section = {
  async run(options, say) {
    const batch = options.sizes.batch ?? BATCH;
    const recordingOf = recordings(options, batch);
    const stages = Object.keys(STAGES) as StageName[];
    const turn = {
      name: "turn",
      work: `of the volunteer that each step waited for; MNIST 784-256-128-10, batches of ${batch}, two volunteers on WASM`,
      contestants: [
        ...stages.map((stage) => row(`${stage}: ${STAGES[stage]}`, recordingOf, (timeline) => timeline.stages[stage])),
        row("the whole step", recordingOf, (timeline) => timeline.stages.step),
        row("besides: the other volunteer's wait for this one's result", recordingOf, (timeline) => timeline.wait),
      ],
    };
    const coordinator = {
      name: "coordinator",
      work: "of the same steps, by the coordinator's clock: both results, and weights for both",
      contestants: [
        ...PHASES.map((phase) => row(phase, recordingOf, ({ phases }) => phases[phase])),
        row("all of these", recordingOf, ({ phases }) => sumOf(phases)),
        row("rest of the stage: both ways of the line, the disk", recordingOf, ({ phases, stages }) =>
          Math.max(0, stages.coordinator - sumOf(phases)),
        ),
      ],
    };
    const results: RaceResult[] = [];
    for (const table of [turn, coordinator]) {
      if (!options.wants(table.name)) continue;
      const result = await runRace({ ...table, unit: "ms a step", better: "lower" }, options.rounds, say);
      options.show(result);
      results.push(result);
    }
    return results;
  },
};
