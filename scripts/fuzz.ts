/**
 * Fuzzes everything that comes over the wire. `npm run fuzz -- --count 10000000 [--seed 1] [--decoder frame]` mutates what the decoders
 * read (test/fuzz/wire.ts). With `--live 200000` so many hostile frames and messages go over sockets into a real object while honest
 * clients train (test/fuzz/live.ts); with `--forged 10000` so many of each kind of forged result. Ends with the figures, or fails at
 * the first input that is not answered for.
 */

import { parseArgs } from "node:util";
import { DECODERS, WireFuzz } from "../test/fuzz/wire.ts";

// Millions of errors are made and looked at: where they were made does not matter.
Error.stackTraceLimit = 0;

const { values } = parseArgs({
  options: {
    count: { type: "string" },
    seed: { type: "string", default: "1" },
    decoder: { type: "string" },
    live: { type: "string", default: "0" },
    forged: { type: "string", default: "0" },
  },
});
const seed = Number(values.seed);
const isLive = Number(values.live) > 0 || Number(values.forged) > 0;
const count = Number(values.count ?? (isLive ? 0 : 1_000_000));
/** Cases between two looks at the memory, and what the process may hold. */
const STRIDE = 10_000;
const RSS_LIMIT = 640e6;

function fuzzDecoders(): void {
  const names = values.decoder === undefined ? Object.keys(DECODERS) : [values.decoder];
  const shares = names.reduce((sum, name) => sum + (DECODERS[name]?.share ?? 0), 0);
  let [total, peak] = [0, 0];
  for (const name of names) {
    const begun = performance.now();
    const fuzz = new WireFuzz(name, seed);
    const cases = Math.ceil((count * (DECODERS[name]?.share ?? 0)) / shares);
    for (let done = 0; done < cases; done += STRIDE) {
      fuzz.run(Math.min(STRIDE, cases - done));
      peak = Math.max(peak, process.memoryUsage().rss);
      if (peak > RSS_LIMIT) throw new Error(`${name}, seed ${seed}: ${peak} bytes resident, the limit is ${RSS_LIMIT}`);
    }
    const { accepted, refused, behaviours } = fuzz.outcome;
    total += accepted + refused;
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    console.log(
      `${name.padEnd(20)} ${accepted} accepted, ${refused} refused in ${behaviours.size} ways, 0 uncaught, ${seconds} s`,
    );
  }
  console.log(
    `${total} frames and messages, 0 uncaught errors, at most ${Math.round(peak / 1e6)} MB resident, seed ${seed}`,
  );
}

if (count > 0) fuzzDecoders();
if (isLive) {
  const { attack } = await import("../test/fuzz/live.ts");
  console.log(await attack({ seed, hostile: Number(values.live), forged: Number(values.forged) }));
}
