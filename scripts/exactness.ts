/**
 * `npm run exactness -- [--steps 200] [--seeds 0,1,2,3,4] [--fleet node|chromium]`: the whole exactness check on MNIST.
 * Each seed is trained by 1, 2 and 5 WASM volunteers and once under churn, after one volunteer in Node, whose bits they
 * must all have. Prints every hash, and ends with 1 if any differs.
 */

import { parseArgs } from "node:util";
import { startTestCoordinator } from "../test/e2e/coordinator.ts";
import { type Run, trainSteadily, trainWithChurn } from "../test/e2e/exactness.ts";
import { ChromiumFleet, nodeFleet } from "../test/e2e/fleets.ts";

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "200" },
    seeds: { type: "string", default: "0,1,2,3,4" },
    fleet: { type: "string", default: "node" },
  },
});
const steps = Number(values.steps);
const coordinator = await startTestCoordinator();
const fleet = values.fleet === "chromium" ? await ChromiumFleet.launch() : nodeFleet;
let differences = 0;
for (const seed of values.seeds.split(",").map(Number)) {
  const run: Run = { coordinator, fleet, seed, steps, lateResults: 2 };
  const reference = await trainSteadily({ ...run, fleet: nodeFleet }, 1);
  const outcomes = [];
  for (const clients of [1, 2, 5]) outcomes.push(await trainSteadily(run, clients));
  const churned = await trainWithChurn(run, (reference.took * 60) / steps, (line) => console.log(`  ${line}`));
  outcomes.push(churned);
  const same = outcomes.every(
    ({ weightsHash, samples }) => weightsHash === reference.weightsHash && samples.join() === reference.samples.join(),
  );
  if (!same) differences += 1;
  const counted = churned.samples.reduce((sum, count) => sum + count, 0);
  console.log(
    `seed ${seed}, ${fleet.name}: ${same ? "identical" : "DIFFERENT"} ` +
      `${[reference, ...outcomes].map(({ weightsHash }) => weightsHash.slice(0, 12)).join(" ")}, ` +
      `${counted} samples in ${churned.samples.length} steps, ${churned.kills} kills, ${churned.late} late results dropped`,
  );
}
await fleet.stop();
await coordinator.stop();
process.exit(differences === 0 ? 0 : 1);
