/**
 * Contestants of the passes over parameters. A pass takes microseconds and a request a millisecond, so a request repeats the pass
 * until it takes long; what remains of the request itself is measured in the same round and taken off.
 */

import { type Contestant, Refusal } from "../harness/race.ts";
import type { Job, Side, WorkName } from "./worker/job.ts";
import type { BenchWorker } from "./workerd.ts";

/** Milliseconds that one request is to take at least. */
const LONG_ENOUGH = 60;
const QUICK = 5;
/** How far a side may be from the plain loops, as a part of the figure: float32 in another order, and float64 there. */
const TOLERANCE = 1e-5;

export interface Passes {
  readonly work: WorkName;
  readonly codec: Job["codec"];
  readonly parameters: number;
  readonly quick: boolean;
}

async function timed(worker: BenchWorker, job: Job): Promise<number> {
  const start = performance.now();
  await worker.run(job);
  return performance.now() - start;
}

export function passContestant(worker: BenchWorker, name: string, side: Side, passes: Passes): Contestant {
  const { work, codec, parameters, quick } = passes;
  const job: Job = { work, side, codec, parameters, repetitions: 0, fresh: false };
  let repetitions = 1;
  let least = Number.POSITIVE_INFINITY;
  /** Milliseconds of a request without and with the pass; again where the machine held the shorter one up for longer. */
  const bothTimed = async (): Promise<readonly [empty: number, full: number]> => {
    for (;;) {
      const empty = await timed(worker, job);
      const full = await timed(worker, { ...job, repetitions });
      if (full > empty) return [empty, full];
    }
  };
  const check = async (): Promise<void> => {
    const [found, plain] = await Promise.all(
      ([side, "plain"] as const).map(async (each) => {
        const { figure } = await worker.run({ ...job, side: each, repetitions: 1, fresh: true });
        return figure;
      }),
    );
    const distance = Math.abs(found - plain) / Math.abs(plain);
    if (!(distance <= TOLERANCE)) {
      throw new Refusal(
        "wrong",
        `${work} comes to ${found}, plain loops to ${plain}: ${distance.toExponential(1)} apart`,
      );
    }
  };
  return {
    name,
    ours: side === "ours",
    async prepare() {
      if (side !== "moved") await check();
      const enough = quick ? QUICK : LONG_ENOUGH;
      // Twice: what else the machine does may make one of them long.
      const takes = async (): Promise<number> => timed(worker, { ...job, repetitions });
      while (Math.min(await takes(), await takes()) < enough) repetitions *= 2;
      return {};
    },
    async measure() {
      const [empty, full] = await bothTimed();
      const figure = ((full - empty) * 1e6) / (repetitions * parameters);
      least = Math.min(least, figure);
      return figure;
    },
    finish: async () => ({ least }),
  };
}
