/**
 * `npm run chaos -- [--steps 1000] [--seed 1] [--processes 4] [--tabs 2] [--churn 0.3] [--kills 5] [--fills 2] [--jumps 3] [--delay 150]`:
 * trains MNIST by clients that come and go behind bad lines, kills the coordinator meanwhile, starts it again in another version, fills its
 * disk and sets its clock, and compares what comes out with a calm training. Prints what happens and ends with the figures; with 1 if a
 * bit differs, a step was lost or done twice, or recovery took over 5 s: until the coordinator answers, and until the next step, which may
 * besides wait for a line that stalls. What this machine lets nobody do, such as to mount a small disk, is left out, and that is said.
 */

import { parseArgs } from "node:util";
import { BLOWS, type Blow, Chaos, LONGEST_STALL } from "../test/chaos/chaos.ts";

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    processes: { type: "string", default: "4" },
    tabs: { type: "string", default: "2" },
    churn: { type: "string", default: "0.3" },
    kills: { type: "string", default: "5" },
    fills: { type: "string", default: "2" },
    jumps: { type: "string", default: "3" },
    delay: { type: "string", default: "150" },
  },
});
/** Milliseconds from a blow until all goes on. */
const LONGEST_RECOVERY = 5_000;

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;

const began = performance.now();
const outcome = await new Chaos({
  seed: Number(values.seed),
  steps: Number(values.steps),
  processes: Number(values.processes),
  tabs: Number(values.tabs),
  churn: Number(values.churn),
  kills: Number(values.kills),
  fills: Number(values.fills),
  jumps: Number(values.jumps),
  delay: Number(values.delay),
  say: (line) => console.log(`${seconds(performance.now() - began).padStart(8)}  ${line}`),
}).run();

const { calm, took, calmHash, weightsHash, recoveries, leftOut, counted, results, complaints } = outcome;
const answers = Math.max(0, ...recoveries.map((recovery) => recovery.answers));
const trains = Math.max(0, ...recoveries.map((recovery) => recovery.trains));
const isSoon = answers <= LONGEST_RECOVERY && trains <= LONGEST_RECOVERY + LONGEST_STALL;
console.log(`\n${values.steps} steps: calm ${seconds(calm)}, in chaos ${seconds(took)}`);
console.log(
  `${counted.left} clients left, ${counted.frozen} hung, ${counted.hidden} were in the background, lines stalled ${counted.stalls} and were cut ${counted.cuts} times`,
);
console.log(
  `results since the last kill: ${Object.entries(results)
    .map(([name, count]) => `${count} ${name}`)
    .join(", ")}`,
);
for (const blow of Object.keys(BLOWS) as Blow[]) {
  const own = recoveries.filter((recovery) => recovery.blow === blow);
  const most = (what: "answers" | "trains"): string => seconds(Math.max(0, ...own.map((recovery) => recovery[what])));
  if (own.length === 0) continue;
  console.log(
    `${BLOWS[blow]} ${own.length} times; it answered after ${most("answers")} at most, and the next step was done after ${most("trains")}`,
  );
}
for (const what of leftOut) console.log(`LEFT OUT: ${what}`);
console.log(
  `weights ${weightsHash.slice(0, 16)}…, calm ${calmHash.slice(0, 16)}…: ${weightsHash === calmHash ? "the same" : "DIFFERENT"}`,
);
console.log(complaints.length === 0 ? "no client saw a step lost or done twice" : complaints.join("\n"));
process.exitCode = weightsHash === calmHash && complaints.length === 0 && isSoon ? 0 : 1;
