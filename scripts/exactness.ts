/**
 * `node scripts/exactness.ts [steps] [seeds]`: the whole exactness check, 200 MNIST steps for seeds 0 to 4 by default, each
 * with 1, 2 and 5 WASM volunteers and once under churn. Prints every hash, and ends with 1 if any differs.
 */

import { startTestCoordinator } from "../test/e2e/coordinator.ts";
import { trainSteadily, trainWithChurn } from "../test/e2e/exactness.ts";

const steps = Number(process.argv[2] ?? 200);
const seeds = (process.argv[3] ?? "0,1,2,3,4").split(",").map(Number);
const coordinator = await startTestCoordinator();
let differences = 0;
for (const seed of seeds) {
  const outcomes = [];
  for (const clients of [1, 2, 5]) outcomes.push(await trainSteadily(coordinator, seed, steps, clients));
  const churned = await trainWithChurn(coordinator, seed, steps, (line) => console.log(`  ${line}`));
  outcomes.push(churned);
  const [first] = outcomes;
  const same = outcomes.every(
    ({ weightsHash, samples }) => weightsHash === first?.weightsHash && samples.join() === first.samples.join(),
  );
  if (!same) differences += 1;
  const counted = churned.samples.reduce((sum, count) => sum + count, 0);
  console.log(
    `seed ${seed}: ${same ? "identical" : "DIFFERENT"} ${outcomes.map(({ weightsHash }) => weightsHash.slice(0, 12)).join(" ")}, ` +
      `${counted} samples in ${churned.samples.length} steps, ${churned.kills} kills, ${churned.dropped} late results dropped`,
  );
}
await coordinator.stop();
process.exit(differences === 0 ? 0 : 1);
