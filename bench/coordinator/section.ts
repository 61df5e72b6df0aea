/** The coordinator's share of a step, inside a real workerd: the passes over parameters, and what its sockets take in. */

import { shortCount } from "../harness/networks.ts";
import { type Claim, type Contestant, type RaceResult, runRace } from "../harness/race.ts";
import type { BenchOptions, Section } from "../harness/section.ts";
import { ingestContestant } from "./ingest.ts";
import { type Passes, passContestant } from "./passes.ts";
import { torchContestant } from "./torch.ts";
import { type BenchWorker, startBenchWorker } from "./workerd.ts";

const SIZES = [235_000, 1_000_000, 3_000_000] as const;
const QUICK_SIZES = [10_000] as const;
/** MB/s that a Durable Object takes in at least. */
const INGEST = 400;

const OURS = "WASM";

interface PassRace extends Pick<Passes, "work" | "codec"> {
  readonly about: string;
  /** Nanoseconds a parameter at most. */
  readonly bound: number | null;
}

/** By name; the number of parameters follows in a race's own. */
const PASSES: Readonly<Record<string, PassRace>> = {
  "add-fixed32": { work: "add", codec: "fixed32", about: "received frames checked and added, i32", bound: 0.35 },
  "add-fixed16": { work: "add", codec: "fixed16", about: "received frames checked and added, i16", bound: 0.35 },
  pack: { work: "pack", codec: "fixed16", about: "sums packed for the log", bound: null },
  norm: { work: "norm", codec: "fixed32", about: "squared norm of the gradient", bound: null },
  step: {
    work: "step",
    codec: "fixed16",
    about: "a whole step of one contribution: added, packed for the log, decoding and Adam",
    bound: null,
  },
  adam: { work: "adam", codec: "fixed16", about: "decoding and Adam", bound: 0.9 },
};

function contestantsOf(worker: BenchWorker, passes: Passes, rivals: boolean): Contestant[] {
  const { work, parameters, quick } = passes;
  return [
    passContestant(worker, OURS, "ours", passes),
    passContestant(worker, "JavaScript loops", "plain", passes),
    ...(work === "add" ? [passContestant(worker, "WASM, staged whole", "staged", passes)] : []),
    ...(work === "add" || work === "adam"
      ? [passContestant(worker, "its bytes moved, nothing computed", "moved", passes)]
      : []),
    ...(work === "adam" && rivals ? [torchContestant(parameters, quick)] : []),
  ];
}

async function racePasses(worker: BenchWorker, options: BenchOptions, say: (line: string) => void) {
  const { quick, rivals, wants, rounds, show } = options;
  const results: RaceResult[] = [];
  for (const parameters of quick ? QUICK_SIZES : SIZES) {
    for (const [pass, { work, codec, about, bound }] of Object.entries(PASSES)) {
      const name = `${pass}-${shortCount(parameters)}`;
      if (!wants(name) && !wants(pass)) continue;
      const claims: Claim[] = bound === null || quick ? [] : [{ kind: "figure", ours: OURS, bound }];
      const contestants = contestantsOf(worker, { work, codec, parameters, quick }, rivals);
      const race = { name, work: `${about}, ${shortCount(parameters)} parameters, in workerd`, unit: "ns a parameter" };
      const result = await runRace({ ...race, better: "lower", contestants, claims }, rounds, say);
      show(result);
      results.push(result);
    }
  }
  return results;
}

async function raceIngest(
  worker: BenchWorker,
  { quick, wants, rounds, show }: BenchOptions,
  say: (line: string) => void,
) {
  if (!wants("ingest")) return [];
  const contestant = ingestContestant(worker.port, quick);
  const claims: Claim[] = quick ? [] : [{ kind: "figure", ours: contestant.name, bound: INGEST }];
  const work = "frames of 1 MiB into one Durable Object, headers read";
  const race = { name: "ingest", work, unit: "MB/s", better: "higher", contestants: [contestant], claims } as const;
  const result = await runRace(race, rounds, say);
  show(result);
  return [result];
}

export const section: Section = {
  async run(options, say) {
    say("starting workerd");
    const worker = await startBenchWorker();
    try {
      return [...(await racePasses(worker, options, say)), ...(await raceIngest(worker, options, say))];
    } finally {
      await worker.stop();
    }
  },
};
