/**
 * A race: contestants do the same work in turn, round after round, each round in another order. A contestant shows
 * first that it does the work right; one that does not is refused and never timed. Knows neither Node nor browsers.
 */

import { type Summary, summarize, summarizeRatios } from "./statistics.ts";

/** Named figures besides the one that is raced for, such as dispatches; a table has a column for each name. */
export type Facts = Readonly<Record<string, number>>;

export interface Contestant {
  readonly name: string;
  /** Ours are compared with all others. */
  readonly ours: boolean;
  /** Gets ready, warms up and shows that the work is done right. Throws `Refusal` if it is not. */
  prepare(): Promise<Facts>;
  /** One round: the figure in the race's unit. */
  measure(): Promise<number>;
  /** What was counted, when the rounds are over. */
  finish?(): Promise<Facts>;
}

/** Stable codes: `wrong` (its result is not the right one), `unavailable` (not installed, no such device), `failed`. */
export type RefusalCode = "wrong" | "unavailable" | "failed";

export class Refusal extends Error {
  readonly code: RefusalCode;
  constructor(code: RefusalCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "Refusal";
    this.code = code;
  }
}

/** What is to hold, and is said to hold or not beside the figures. */
export type Claim =
  /** Of the race's figures, as a gain: 1.5 is "1.5 times as fast". */
  | { readonly kind: "gain"; readonly ours: string; readonly rival: string; readonly atLeast: number }
  | { readonly kind: "fact"; readonly ours: string; readonly fact: string; readonly atMost: number }
  /** Of the race's own figure, its median: at most the bound where less is better, at least where more is. */
  | { readonly kind: "figure"; readonly ours: string; readonly bound: number };

export interface Race {
  readonly name: string;
  /** What the work is, for people. */
  readonly work: string;
  readonly unit: string;
  readonly better: "lower" | "higher";
  readonly contestants: readonly Contestant[];
  readonly claims?: readonly Claim[];
}

export type Entry = { readonly name: string; readonly ours: boolean } & (
  | { readonly summary: Summary; readonly rounds: readonly number[]; readonly facts: Facts }
  | { readonly refused: RefusalCode; readonly problem: string }
);

export type MeasuredEntry = Extract<Entry, { summary: Summary }>;

/** Above 1: ours is so many times as good. */
export interface Gain {
  readonly ours: string;
  readonly rival: string;
  readonly gain: Summary;
}

export interface Verdict {
  readonly claim: Claim;
  /** Null where it was not measured. */
  readonly found: number | null;
  readonly holds: boolean;
}

export interface RaceResult {
  readonly name: string;
  readonly work: string;
  readonly unit: string;
  readonly better: "lower" | "higher";
  readonly entries: readonly Entry[];
  readonly gains: readonly Gain[];
  readonly verdicts: readonly Verdict[];
}

export const isMeasured = (entry: Entry): entry is MeasuredEntry => "summary" in entry;

function refusalOf(error: unknown): { refused: RefusalCode; problem: string } {
  const problem = error instanceof Error ? error.message : String(error);
  return { refused: error instanceof Refusal ? error.code : "failed", problem };
}

/** In the order given, but begun elsewhere each time: nobody always follows the same one. */
const rotated = <T>(items: readonly T[], by: number): T[] => items.map((_, at) => items[(at + by) % items.length]);

function gainsOf({ better }: Race, entries: readonly Entry[]): Gain[] {
  const measured = entries.filter(isMeasured);
  const rivals = measured.filter(({ ours }) => !ours);
  return measured
    .filter(({ ours }) => ours)
    .flatMap((own) =>
      rivals.map((rival): Gain => {
        const [above, below] = better === "lower" ? [rival, own] : [own, rival];
        return { ours: own.name, rival: rival.name, gain: summarizeRatios(above.rounds, below.rounds) };
      }),
    );
}

function judge(claim: Claim, { better }: Race, entries: readonly Entry[], gains: readonly Gain[]): Verdict {
  if (claim.kind === "gain") {
    const found = gains.find(({ ours, rival }) => ours === claim.ours && rival === claim.rival)?.gain.median ?? null;
    return { claim, found, holds: found !== null && found >= claim.atLeast };
  }
  const own = entries.filter(isMeasured).find(({ name }) => name === claim.ours);
  if (claim.kind === "figure") {
    const found = own?.summary.median ?? null;
    return {
      claim,
      found,
      holds: found !== null && (better === "lower" ? found <= claim.bound : found >= claim.bound),
    };
  }
  const found = own?.facts[claim.fact] ?? null;
  return { claim, found, holds: found !== null && found <= claim.atMost };
}

/** Runs a race to its end; contestants that drop out are told of and leave the others alone. */
export async function runRace(race: Race, rounds: number, say: (line: string) => void = () => {}): Promise<RaceResult> {
  const dropped = new Map<Contestant, { refused: RefusalCode; problem: string }>();
  const facts = new Map<Contestant, Facts>();
  const figures = new Map<Contestant, number[]>();
  const attempt = async (contestant: Contestant, action: () => Promise<void>): Promise<void> => {
    if (dropped.has(contestant)) return;
    try {
      await action();
    } catch (error) {
      const refusal = refusalOf(error);
      dropped.set(contestant, refusal);
      say(`${race.name}: ${contestant.name}: ${refusal.problem}`);
    }
  };
  for (const contestant of race.contestants) {
    await attempt(contestant, async () => {
      say(`${race.name}: ${contestant.name} gets ready`);
      facts.set(contestant, await contestant.prepare());
      figures.set(contestant, []);
    });
  }
  for (let round = 0; round < rounds; round++) {
    say(`${race.name}: round ${round + 1} of ${rounds}`);
    for (const contestant of rotated(race.contestants, round)) {
      await attempt(contestant, async () => {
        figures.get(contestant)?.push(await contestant.measure());
      });
    }
  }
  for (const contestant of race.contestants) {
    await attempt(contestant, async () => {
      facts.set(contestant, { ...facts.get(contestant), ...(await contestant.finish?.()) });
    });
  }
  const entries = race.contestants.map((contestant): Entry => {
    const { name, ours } = contestant;
    const refusal = dropped.get(contestant);
    if (refusal !== undefined) return { name, ours, ...refusal };
    const measured = figures.get(contestant) ?? [];
    return { name, ours, summary: summarize(measured), rounds: measured, facts: facts.get(contestant) ?? {} };
  });
  const gains = gainsOf(race, entries);
  const verdicts = (race.claims ?? []).map((claim) => judge(claim, race, entries, gains));
  const { name, work, unit, better } = race;
  return { name, work, unit, better, entries, gains, verdicts };
}
