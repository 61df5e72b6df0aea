/**
 * Runs the engine section for a visitor, off the page's main thread: ours alone, for this address serves what volunteers
 * run and nothing else. The reference gradient is computed on the spot: here, too, no engine is timed that is wrong.
 */

import { ourContestants } from "../engine/contestants/ours.ts";
import { createTrial } from "../engine/trial.ts";
import { createProblem, describeWorkload, QUICK_WORKLOADS, referenceGradient, WORKLOADS } from "../engine/workloads.ts";
import { runRace } from "../harness/race.ts";
import type { AdapterDescription, RunRequest, WorkerMessage } from "./messages.ts";

const post = (message: WorkerMessage): void => postMessage(message);

async function describeAdapter(): Promise<AdapterDescription> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (adapter == null) return null;
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  return { vendor, architecture, device, description, software: isFallbackAdapter ?? false };
}

async function run({ workloads, rounds, quick }: RunRequest): Promise<void> {
  post({ type: "adapter", adapter: await describeAdapter() });
  const say = (line: string): void => post({ type: "progress", line });
  for (const name of workloads) {
    const workload = (quick ? QUICK_WORKLOADS : WORKLOADS)[name];
    say(`${name}: the reference gradient, in float64`);
    const problem = createProblem(workload);
    const reference = referenceGradient(problem);
    const contestants = ourContestants(workload).map((contestant) =>
      createTrial({ ...contestant, problem, reference }),
    );
    const race = { name, work: describeWorkload(workload), unit: "ms a step", better: "lower", contestants } as const;
    post({ type: "race", result: await runRace(race, rounds, say) });
  }
  post({ type: "done" });
}

addEventListener("message", ({ data }: MessageEvent<RunRequest>) => {
  run(data).catch((error: unknown) => {
    post({ type: "failed", problem: error instanceof Error ? error.message : String(error) });
  });
});
