/** The gradients of one step: our engines beside other libraries, in headless Chromium. */

import { availableParallelism } from "node:os";
import { type Contestant, type Race, type RaceResult, runRace } from "../harness/race.ts";
import { installRivals } from "../harness/rivals.ts";
import type { BenchOptions, Section } from "../harness/section.ts";
import { startArena } from "./arena.ts";
import { claimsOf } from "./claims.ts";
import { pyTorchContestant } from "./contestants/pytorch.ts";
import { RIVALS } from "./names.ts";
import {
  createProblem,
  describeWorkload,
  type Problem,
  QUICK_WORKLOADS,
  referenceGradient,
  WORKLOADS,
  type Workload,
} from "./workloads.ts";

const UNIT = "ms a step";

/** The workloads asked for, with the sizes that were given. */
function workloadsOf({ quick, wants, sizes }: BenchOptions): Workload[] {
  const all: Workload[] = Object.values(quick ? QUICK_WORKLOADS : WORKLOADS);
  return all
    .filter(({ network }) => wants(network.kind))
    .map((workload) => {
      const { network } = workload;
      const batch = sizes.batch ?? workload.batch;
      // A batch that cannot be cut as usual stays whole.
      const microBatch = batch % workload.microBatch === 0 ? workload.microBatch : batch;
      if (network.kind !== "mlp" || sizes.mlp === null) return { network, batch, microBatch };
      return { network: { ...network, sizes: sizes.mlp }, batch, microBatch };
    });
}

function nativeContestants(problem: Problem, reference: Float32Array): Contestant[] {
  return [
    pyTorchContestant(RIVALS.pytorch, 1, problem, reference),
    pyTorchContestant(RIVALS.pytorchOnAllCores, availableParallelism(), problem, reference),
  ];
}

export const section: Section = {
  async run(options, say) {
    const workloads = workloadsOf(options);
    if (workloads.length === 0) return [];
    if (options.rivals) await installRivals(say);
    say("bundling the page");
    const arena = await startArena({ rivals: options.rivals });
    try {
      const results: RaceResult[] = [];
      for (const workload of workloads) {
        const name = workload.network.kind;
        say(`${name}: the reference gradient, in float64`);
        const problem = createProblem(workload);
        const reference = referenceGradient(problem);
        const inPages = await arena.contestants(workload, reference);
        const race: Race = {
          name,
          work: describeWorkload(workload),
          unit: UNIT,
          better: "lower",
          contestants: [...inPages, ...(options.rivals ? nativeContestants(problem, reference) : [])],
          claims: options.quick ? [] : claimsOf(workload).filter(({ kind }) => options.rivals || kind === "fact"),
        };
        const result = await runRace(race, options.rounds, say);
        options.show(result);
        results.push(result);
      }
      return results;
    } finally {
      await arena.stop();
    }
  },
};
