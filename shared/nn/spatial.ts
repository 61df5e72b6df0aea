/** What layers over spatial axes ask of their options and of their input. */

import { GraphError } from "../graph/error.ts";
import type { ValueId } from "../graph/ir.ts";
import type { GraphWriter } from "./module.ts";

/** One number for every spatial axis, or one for each. */
export type Spatial = number | readonly number[];

export function requireCount(what: string, count: number): void {
  if (!Number.isInteger(count) || count < 1) {
    throw new GraphError("attribute", `${what} is ${count}, expected a positive integer`);
  }
}

/** One number an axis, each an integer of at least `least`. */
export function spread(what: string, given: Spatial, axes: number, least: number): number[] {
  const numbers = typeof given === "number" ? Array.from({ length: axes }, () => given) : [...given];
  if (numbers.length !== axes || !numbers.every((number) => Number.isInteger(number) && number >= least)) {
    const expected = axes === 1 ? "an integer" : `an integer or ${axes} of them`;
    throw new GraphError("attribute", `${what} is ${JSON.stringify(given)}, expected ${expected}, at least ${least}`);
  }
  return numbers;
}

const showInput = (sizes: readonly (number | string)[]): string => `[N, ${sizes.join(", ")}]`;

const AXES = [["L"], ["H", "W"]] as const;

/** The input is [N, channels, …] with `axes` spatial axes; null: any number of channels. */
export function requireChannels(
  to: GraphWriter,
  kind: string,
  input: ValueId,
  axes: number,
  channels: number | null,
): readonly number[] {
  const [, ...sizes] = to.shapeOf(input);
  if (sizes.length !== axes + 1 || (channels !== null && sizes[0] !== channels)) {
    const expected = showInput([channels ?? "C", ...AXES[axes - 1]]);
    throw new GraphError("shape", `layer ${to.path} (${kind}): expected input ${expected}, got ${showInput(sizes)}`);
  }
  return sizes;
}
