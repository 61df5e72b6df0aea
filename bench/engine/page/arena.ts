/**
 * The page that engines run in, driven from outside (`../arena.ts`): it holds one problem and the contestants that ask to
 * be in it, and runs one of them at a time. Loaded with ours; the rivals' script adds theirs where they are installed.
 */

import { type Contestant, type Facts, Refusal, type RefusalCode } from "../../harness/race.ts";
import { ourContestants } from "../contestants/ours.ts";
import { type CreateStepper, createTrial } from "../trial.ts";
import { createProblem, type Workload } from "../workloads.ts";

export interface PageContestant {
  readonly name: string;
  readonly ours: boolean;
  readonly create: CreateStepper;
}

/** What crosses to the harness is JSON. */
export type Answer<T> = { readonly value: T } | { readonly refused: RefusalCode; readonly problem: string };

export interface Arena {
  add(contestants: (workload: Workload) => PageContestant[]): void;
  /** Names of those who take part. `reference` is the address of the reference gradient's floats. */
  open(workload: Workload, reference: string): Promise<readonly Pick<Contestant, "name" | "ours">[]>;
  prepare(name: string): Promise<Answer<Facts>>;
  measure(name: string): Promise<Answer<number>>;
  finish(name: string): Promise<Answer<Facts>>;
}

declare global {
  var arena: Arena;
}

async function answer<T>(action: () => Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await action() };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { refused: error instanceof Refusal ? error.code : "failed", problem };
  }
}

const tables: ((workload: Workload) => PageContestant[])[] = [ourContestants];
const trials = new Map<string, Contestant>();

function trialOf(name: string): Contestant {
  const trial = trials.get(name);
  if (trial === undefined) throw new Error(`there is no contestant ${name}`);
  return trial;
}

globalThis.arena = {
  add: (contestants) => tables.push(contestants),
  async open(workload, reference) {
    const problem = createProblem(workload);
    const floats = new Float32Array(await (await fetch(reference)).arrayBuffer());
    for (const contestant of tables.flatMap((contestants) => contestants(workload))) {
      trials.set(contestant.name, createTrial({ ...contestant, problem, reference: floats }));
    }
    return Array.from(trials.values(), ({ name, ours }) => ({ name, ours }));
  },
  prepare: (name) => answer(() => trialOf(name).prepare()),
  measure: (name) => answer(() => trialOf(name).measure()),
  finish: (name) => answer(async () => (await trialOf(name).finish?.()) ?? {}),
};
