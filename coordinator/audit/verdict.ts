/** Who is right, by what several clients found for the same work. */

import { difference } from "./compare.ts";
import type { Evidence } from "./evidence.ts";

export interface Witness {
  readonly client: string;
  readonly evidence: Evidence;
  /** Its word decides. */
  readonly isReferee: boolean;
}

export interface Verdict {
  readonly right: readonly string[];
  readonly wrong: readonly { readonly client: string; readonly difference: number }[];
}

/**
 * Right is the referee, or else whoever most of the others agree with, the earliest of equals; and who agrees with that one. Null
 * while no two agree.
 */
export function verdictOf(witnesses: readonly Witness[]): Verdict | null {
  const truth = witnesses.find(({ isReferee }) => isReferee) ?? mostAgreed(witnesses);
  if (truth === null) return null;
  const right: string[] = [];
  const wrong: { client: string; difference: number }[] = [];
  for (const { client, evidence } of witnesses) {
    const apart = difference(evidence, truth.evidence);
    if (apart <= 1) right.push(client);
    else wrong.push({ client, difference: apart });
  }
  return { right, wrong };
}

function mostAgreed(witnesses: readonly Witness[]): Witness | null {
  let most: Witness | null = null;
  let least = 1;
  for (const witness of witnesses) {
    const count = witnesses.filter(({ evidence }) => difference(evidence, witness.evidence) <= 1).length;
    if (count <= least) continue;
    least = count;
    most = witness;
  }
  return most;
}
