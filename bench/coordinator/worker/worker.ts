/**
 * A Worker that measures: the coordinator's passes inside workerd, over and over in one request, so that whoever asks can time
 * them from outside. A Worker's own clock is not to be relied on while code runs.
 */

import { sessionOfSize } from "../../harness/networks.ts";
import type { Bench } from "./bench.ts";
import type { Ingest } from "./ingest.ts";
import { type Job, type JobAnswer, readJob, type Side } from "./job.ts";
import { MovedBench } from "./moved.ts";
import { OurBench } from "./ours.ts";
import { PlainBench } from "./plain.ts";
import { StagedBench } from "./staged.ts";

export { Ingest } from "./ingest.ts";

interface Env {
  readonly INGEST: DurableObjectNamespace<Ingest>;
}

const BENCHES = { ours: OurBench, plain: PlainBench, staged: StagedBench, moved: MovedBench } as const;

/** Of one size at a time: 3M parameters are a lot of memory. */
const held = new Map<Side, Bench>();
let heldSize = "";

function benchOf({ side, parameters, codec, fresh }: Job): Bench {
  const size = `${parameters} ${codec}`;
  if (size !== heldSize) held.clear();
  heldSize = size;
  const found = held.get(side);
  if (found !== undefined && !fresh) return found;
  const bench = new BENCHES[side](sessionOfSize({ parameters, codec, microBatches: 16, steps: 1 }), codec);
  held.set(side, bench);
  return bench;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/ingest") return env.INGEST.get(env.INGEST.idFromName("one")).fetch(request);
    const job = readJob(searchParams);
    const bench = benchOf(job);
    await bench.run(job.work, job.repetitions);
    return Response.json({ figure: job.fresh ? bench.figure(job.work) : 0 } satisfies JobAnswer);
  },
};
