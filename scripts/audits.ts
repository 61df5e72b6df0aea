/**
 * `npm run audits -- [--runs 200] [--audits 100000] [--pairs 2000]`: how soon audits find cheaters, whether they ever ban an honest client,
 * and what they cost. Fleets are the real round machine in virtual time with modelled gradients; the pairs are real results of
 * WebGPU (Dawn on SwiftShader) and of WASM. Ends with 1 if any figure misses its aim.
 */

import { parseArgs } from "node:util";
import { agree, difference, gradientDistance, TOLERANCES } from "../coordinator/audit/index.ts";
import {
  CHEATS,
  collusion,
  honestAudits,
  hunt,
  mostBytes,
  overhead,
  percentile99,
  SHAPES,
  SLEEPS,
} from "../test/coordinator/audits/experiment.ts";
import { realPairs } from "../test/parity/pairs.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "200" },
    audits: { type: "string", default: "100000" },
    pairs: { type: "string", default: "2000" },
    help: { type: "boolean", default: false },
  },
});
const [runs, audits, pairs] = [values.runs, values.audits, values.pairs].map(Number);
if (values.help) {
  console.log("npm run audits -- [--runs 200] [--audits 100000] [--pairs 2000]");
  process.exit(0);
}

/** Aims of the figures below. */
const AIMS = { cheater: 30, sleeper: 60, compute: 0.1, packedBytes: 0.01 } as const;

const missed: string[] = [];
const require = (isMet: boolean, what: string): void => {
  if (!isMet) missed.push(what);
};
const percent = (part: number): string => `${(100 * part).toFixed(2)} %`;

console.log(
  `${runs} runs each: one cheater, who says it is a GPU, among 19 honest clients; shards of it that were accepted`,
);
for (const [name, sleeps, aim] of [
  ["from its first step", 0, AIMS.cheater],
  [`after ${SLEEPS} honest shards`, SLEEPS, AIMS.sleeper],
] as const) {
  for (const cheat of CHEATS) {
    for (const isProven of [true, false]) {
      const { shards, innocents } = hunt(cheat, runs, sleeps, isProven);
      const most = percentile99(shards);
      const where = isProven ? "a proven fleet" : "newcomers   ";
      console.log(
        `  ${cheat.padEnd(9)} ${name}, ${where}  median ${shards[shards.length >> 1]}, 99th percentile ${most}, ` +
          `most ${shards.at(-1)}, honest banned ${innocents}`,
      );
      require(most < aim, `${cheat} ${name}: ${most}, to be below ${aim}`);
      require(innocents === 0, `${cheat} ${name}: ${innocents} honest clients were banned`);
    }
  }
}

console.log("so many of 20 who send the same zeros: banned, in the mean of 30 runs");
for (const isProven of [true, false]) {
  for (const colluders of [2, 4, 6, 8, 10]) {
    const { liars, honest } = collusion(colluders, 30, isProven);
    console.log(
      `  ${String(colluders).padStart(2)} in ${isProven ? "a proven fleet" : "newcomers"}: ${liars.toFixed(2)} of them, and ${honest.toFixed(2)} honest clients`,
    );
  }
}

const distances: number[] = [];
const multiples: number[] = [];
let same = 0;
for await (const { wasm, gpu, again } of realPairs(pairs)) {
  distances.push(gradientDistance(wasm, gpu));
  multiples.push(difference(wasm, gpu));
  if (difference(wasm, again) === 0) same += 1;
  require(agree(wasm, gpu), `a real pair is apart by ${distances.at(-1)}`);
}
distances.sort((a, b) => a - b);
console.log(
  `${pairs} real pairs, WebGPU and WASM, dropout and ReLU: gradients apart by ${distances[pairs >> 1].toExponential(1)} in the median, ` +
    `${distances[Math.ceil(0.999 * pairs) - 1].toExponential(1)} at the 99.9th percentile, ${distances[pairs - 1].toExponential(1)} at most ` +
    `(${TOLERANCES.gradient} is tolerated); at most ${Math.max(...multiples).toPrecision(2)} of any tolerance; WASM again: ${same} the same bits`,
);
require(same === pairs, `${pairs - same} results of WASM were not the same bits again`);

const modelled = audits - pairs;
const { compared, disputed, banned } = honestAudits(modelled);
console.log(`${compared} modelled audits among honest clients: ${disputed} disputed, ${banned} banned`);
require(banned === 0, `${banned} honest clients were banned`);

console.log("what audits add to a proven fleet (compute: micro-batches; bytes: fixed32, and packed8; time: of a step)");
for (const shape of SHAPES) {
  const { clients, microBatches, compute, bytes, packedBytes, time } = overhead(shape, 2_000);
  console.log(
    `  ${String(clients).padStart(3)} clients, ${String(microBatches).padStart(3)} micro-batches  compute ${percent(compute)}, bytes ${percent(bytes)} ` +
      `and ${percent(packedBytes)}, time ${percent(time)}`,
  );
  require(compute <= AIMS.compute, `compute ${percent(compute)} with ${clients} clients`);
  require(bytes <= mostBytes(clients, microBatches), `bytes ${percent(bytes)} with ${clients} clients`);
  require(packedBytes <= AIMS.packedBytes, `bytes of packed8 ${percent(packedBytes)} with ${clients} clients`);
}

for (const line of missed) console.log(`MISSED ${line}`);
console.log(missed.length === 0 ? "every aim is met" : `${missed.length} aims are missed`);
process.exit(missed.length === 0 ? 0 : 1);
