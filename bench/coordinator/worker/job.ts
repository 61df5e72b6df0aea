/** What the measuring Worker is asked for, and how it asks to be told: in the address of a request. */

/** One entry for each pass over the parameters that is measured. */
export const WORKS = ["add", "pack", "norm", "adam", "step"] as const;
export type WorkName = (typeof WORKS)[number];

export const SIDES = ["ours", "plain", "staged", "moved"] as const;
export type Side = (typeof SIDES)[number];

/** Those that plain loops can read. */
export const JOB_CODECS = ["fixed32", "fixed16"] as const;
export type JobCodec = (typeof JOB_CODECS)[number];

export interface Job {
  readonly work: WorkName;
  readonly side: Side;
  readonly codec: JobCodec;
  /** Wanted (bench/harness/networks.ts). */
  readonly parameters: number;
  /** How often, one after the other; 0 measures what a request costs. */
  readonly repetitions: number;
  /** From the state that everyone begins with, and with an answer that can be compared. */
  readonly fresh: boolean;
}

/** What is left of a job: a figure over all parameters. */
export interface JobAnswer {
  readonly figure: number;
}

export function jobAddress(base: string, job: Job): string {
  const query = new URLSearchParams(Object.entries(job).map(([name, value]) => [name, String(value)]));
  return `${base}/job?${query}`;
}

const isOneOf = <T extends string>(all: readonly T[], value: string | null): value is T =>
  (all as readonly (string | null)[]).includes(value);

/** Throws RangeError for what `jobAddress` did not write. */
export function readJob(query: URLSearchParams): Job {
  const work = query.get("work");
  const side = query.get("side");
  const codec = query.get("codec");
  if (!isOneOf(WORKS, work) || !isOneOf(SIDES, side) || !isOneOf(JOB_CODECS, codec)) {
    throw new RangeError(`no such job: ${query}`);
  }
  const [parameters, repetitions] = ["parameters", "repetitions"].map((name) => Number(query.get(name)));
  return { work, side, codec, parameters, repetitions, fresh: query.get("fresh") === "true" };
}
