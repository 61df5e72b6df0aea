/**
 * What a coordinator costs as a session grows: made-up clients over real sockets into a real workerd, by their number and by the
 * number of parameters. Clients compute nothing, so the coordinator is all that is waited for, and the clients' own processes.
 */

import { type NetworkSize, shortCount } from "../harness/networks.ts";
import { type Claim, type Contestant, type RaceResult, runRace } from "../harness/race.ts";
import type { BenchOptions, Section } from "../harness/section.ts";
import { summarize } from "../harness/statistics.ts";
import { floodRace } from "./flooded.ts";
import { runTrial, type Trial } from "./trial.ts";

/** What a Durable Object may hold, in MB (invariant I4). */
const MEMORY = 96;
/** Bytes over the line that one trial is made to move, about; and its least and most steps. */
const TRIAL_BYTES = 1.5e9;
const LEAST_STEPS = 6;
const MOST_STEPS = 60;
const QUICK_STEPS = 3;
/** How many times as fast as its bytes a step's CPU time grew from one point to the next; what is over 1 has to be noise. */
const GROWTH = "CPU growth / bytes growth";
const MOST_GROWTH = 1.25;

interface Point {
  readonly clients: number;
  /** Others who are connected and want no work. */
  readonly resting?: number;
  readonly parameters: number;
}

interface Sweep {
  readonly about: string;
  readonly points: readonly Point[];
}

const BY_CLIENTS = [1, 4, 16, 64, 256];
const BY_PARAMETERS = [10_000, 235_000, 1_000_000, 3_000_000];

const SWEEPS: Readonly<Record<string, Sweep>> = {
  clients: {
    about: "235k parameters by the number of clients, a micro-batch each",
    points: BY_CLIENTS.map((clients) => ({ clients, parameters: 235_000 })),
  },
  parameters: {
    about: "16 clients by the number of parameters",
    points: BY_PARAMETERS.map((parameters) => ({ clients: 16, parameters })),
  },
  resting: {
    about: "256 clients and others that are connected and want no work",
    points: [0, 2_000].map((resting) => ({ clients: 256, resting, parameters: 235_000 })),
  },
};
const QUICK_SWEEPS: Readonly<Record<string, Sweep>> = {
  clients: { about: "10k parameters", points: [2, 4].map((clients) => ({ clients, parameters: 10_000 })) },
};

const labelOf = ({ clients, resting = 0, parameters }: Point): string =>
  `${clients} client${clients === 1 ? "" : "s"}, ${resting === 0 ? "" : `${resting} resting, `}${shortCount(parameters)}`;

function sizeOf({ clients, parameters }: Point, quick: boolean): NetworkSize {
  // Weights in float32 down, sums in 16 bits up.
  const bytes = clients * parameters * 6;
  const steps = Math.min(MOST_STEPS, Math.max(LEAST_STEPS, Math.round(TRIAL_BYTES / bytes)));
  return { parameters, codec: "fixed16", microBatches: clients, steps: quick ? QUICK_STEPS : steps };
}

const medianOf = (trials: readonly Trial[], figure: (trial: Trial) => number): number =>
  summarize(trials.map(figure)).median;

const nanosecondsPerByte = ({ cpuSeconds, bytes }: Trial): number => (cpuSeconds * 1e9) / bytes;

/** `before` has the trials of the next smaller point, which this one's growth is measured against. */
function contestant(point: Point, quick: boolean, trials: Trial[], before: readonly Trial[]): Contestant {
  return {
    name: labelOf(point),
    ours: true,
    prepare: async () => ({}),
    async measure() {
      const trial = await runTrial({ working: point.clients, resting: point.resting ?? 0 }, sizeOf(point, quick));
      trials.push(trial);
      return trial.stepsPerSecond;
    },
    finish: async () => ({
      "steps lost": trials.reduce((sum, { lost }) => sum + lost, 0),
      "starved clients": Math.max(...trials.map(({ starved }) => starved)),
      "closed sockets": Math.max(...trials.map(({ closed }) => closed)),
      "MB a step": medianOf(trials, ({ bytes }) => bytes) / 1e6,
      "CPU ms a step": medianOf(trials, ({ cpuSeconds }) => cpuSeconds) * 1000,
      "CPU ms a client": (medianOf(trials, ({ cpuSeconds }) => cpuSeconds) * 1000) / point.clients,
      "CPU ns a byte": medianOf(trials, nanosecondsPerByte),
      [GROWTH]: medianOf(trials, nanosecondsPerByte) / medianOf(before, nanosecondsPerByte),
      "object MB": Math.max(...trials.map(({ ledgerPeak }) => ledgerPeak)) / 1e6,
      "workerd MB": Math.max(...trials.map(({ resident }) => resident)) / 1e6,
    }),
  };
}

const claimsOf = ({ points }: Sweep): Claim[] =>
  points.flatMap((point): Claim[] => {
    const fact = (name: string, atMost: number): Claim => ({ kind: "fact", ours: labelOf(point), fact: name, atMost });
    return [
      fact("steps lost", 0),
      fact("starved clients", 0),
      fact("closed sockets", 0),
      fact("object MB", MEMORY),
      fact(GROWTH, MOST_GROWTH),
    ];
  });

async function raceSweep(name: string, sweep: Sweep, { quick, rounds }: BenchOptions, say: (line: string) => void) {
  const { about, points } = sweep;
  const trials = points.map((): Trial[] => []);
  const contestants = points.map((point, index) =>
    contestant(point, quick, trials[index], trials[Math.max(0, index - 1)]),
  );
  const work = `${about}; fixed16, real sockets into a real workerd`;
  const claims = quick ? [] : claimsOf(sweep);
  return runRace({ name, work, unit: "steps/s", better: "higher", contestants, claims }, rounds, say);
}

export const section: Section = {
  async run(options, say) {
    const results: RaceResult[] = [];
    for (const [name, sweep] of Object.entries(options.quick ? QUICK_SWEEPS : SWEEPS)) {
      if (!options.wants(name)) continue;
      const result = await raceSweep(name, sweep, options, say);
      options.show(result);
      results.push(result);
    }
    if (!options.quick && options.wants("flood")) {
      const result = await runRace(floodRace(), 1, say);
      options.show(result);
      results.push(result);
    }
    return results;
  },
};
