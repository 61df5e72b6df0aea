/**
 * Fuzzes the readers of foreign files (test/fuzz/readers.ts) for as long as asked:
 * `node scripts/fuzz-readers.ts --count 1000000 [--seed 1] [--reader onnx]`. The count is of all readers together. Ends with
 * the figures of each, or with the seed and the number of the first case that a reader did not answer for.
 */

import { parseArgs } from "node:util";
import { fuzz, SUBJECTS } from "../test/fuzz/readers.ts";

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
    reader: { type: "string" },
  },
});
const names = values.reader === undefined ? Object.keys(SUBJECTS) : [values.reader];
const each = Math.ceil(Number(values.count) / names.length);
/** Cases between two looks at the memory. */
const STRIDE = 1_000;

let [total, peak] = [0, 0];
for (const name of names) {
  const begun = performance.now();
  let [read, refused] = [0, 0];
  for (let from = 0; from < each; from += STRIDE) {
    const outcome = fuzz(name, Number(values.seed), from, Math.min(each, from + STRIDE));
    read += outcome.read;
    refused += outcome.refused;
    peak = Math.max(peak, process.memoryUsage().rss);
  }
  total += read + refused;
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  console.log(`${name.padEnd(12)} ${read} read, ${refused} refused, 0 uncaught, ${seconds} s`);
}
console.log(
  `${total} mutated files, 0 uncaught errors, at most ${Math.round(peak / 1e6)} MB resident, seed ${values.seed}`,
);
