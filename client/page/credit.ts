/** Credit for those who chose a name; the others stay unnamed and are only counted. */

import type { Member } from "./api.ts";

export interface Credit {
  readonly name: string;
  readonly samples: number;
}

/**
 * Samples by chosen name, most first; all tabs under one name count together. `unnamed` is how many chose none.
 */
export function creditOf(members: readonly Pick<Member, "name" | "samples">[]): {
  readonly named: readonly Credit[];
  readonly unnamed: number;
} {
  const sums = new Map<string, number>();
  for (const { name, samples } of members) {
    if (name !== "") sums.set(name, (sums.get(name) ?? 0) + samples);
  }
  const named = [...sums].map(([name, samples]) => ({ name, samples })).sort((a, b) => b.samples - a.samples);
  return { named, unnamed: members.filter(({ name }) => name === "").length };
}
