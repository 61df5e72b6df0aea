/**
 * Windows over a stream: a data set whose rows are the tokens of a text, or the readings of a sensor, one after another, of
 * which a session takes overlapping or adjoining pieces as its samples. Sample i of a split is the `length` rows from i·stride
 * on, counted from the split's first row; an input with a shift reads as many rows further on, as a language model's targets
 * do. What does not fill a window at a split's end is left out, and no window crosses into another split.
 */

import type { HostedData } from "./definition.ts";

/** Rows that samples are made of; without windows each row is a sample. */
export interface RowWindow {
  readonly length: number;
  /** Rows between the beginnings of neighbouring samples. */
  readonly stride: number;
}

const ROW: RowWindow = { length: 1, stride: 1 };

export const windowOf = ({ window = ROW }: Pick<HostedData, "window">): RowWindow => window;

/** Rows from a sample's first to after the last that any of its inputs reads. */
export function reachOf(data: Pick<HostedData, "window" | "inputs">): number {
  const shifts = Object.values(data.inputs).map(({ shift = 0 }) => shift);
  return windowOf(data).length + Math.max(0, ...shifts);
}

/** Samples that a half-open range of rows holds. */
export function samplesIn(
  data: Pick<HostedData, "window" | "inputs">,
  [from, to]: readonly [from: number, to: number],
): number {
  const spare = to - from - reachOf(data);
  return spare < 0 ? 0 : Math.floor(spare / windowOf(data).stride) + 1;
}
