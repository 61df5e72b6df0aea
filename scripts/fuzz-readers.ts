/**
 * Fuzzes the readers of foreign files (test/fuzz/readers.ts) for as long as asked:
 * `node scripts/fuzz-readers.ts --count 1000000 [--seed 1] [--reader onnx]`. The count is of all readers together. Ends with
 * the figures of each; or fails with the seed and the number of the first case that a reader did not answer for, or where
 * the process has held more memory than it may.
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
const STRIDE = 100;
/** Bytes that the whole process may hold, and of them JavaScript's heap, at every look: no mutated file of a few kilobytes is worth more. */
const LIMITS = { rss: 640e6, heapUsed: 320e6 } as const;

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;

const peak = { rss: 0, heapUsed: 0 };
function look(name: string, upTo: number): void {
  const usage = process.memoryUsage();
  for (const what of ["rss", "heapUsed"] as const) {
    peak[what] = Math.max(peak[what], usage[what]);
    if (usage[what] > LIMITS[what]) {
      const figures = `${what} is ${megabytes(usage[what])}, the limit is ${megabytes(LIMITS[what])}`;
      throw new Error(`the ${name} reader, seed ${values.seed}, up to case ${upTo}: ${figures}`);
    }
  }
}

let total = 0;
for (const name of names) {
  const begun = performance.now();
  let [read, refused] = [0, 0];
  for (let from = 0; from < each; from += STRIDE) {
    const to = Math.min(each, from + STRIDE);
    const outcome = fuzz(name, Number(values.seed), from, to);
    read += outcome.read;
    refused += outcome.refused;
    look(name, to);
  }
  total += read + refused;
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  console.log(`${name.padEnd(12)} ${read} read, ${refused} refused, 0 uncaught, ${seconds} s`);
}
const held = `at most ${megabytes(peak.rss)} resident and ${megabytes(peak.heapUsed)} of heap`;
console.log(`${total} mutated files, 0 uncaught errors, ${held}, seed ${values.seed}`);
