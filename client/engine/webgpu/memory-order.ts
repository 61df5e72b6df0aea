/** How a value's elements lie in memory: which value is stored, and in what order views show it. */

import { type Coordinate, ZERO } from "./coordinates.ts";
import type { Value } from "./values.ts";

/** Without views that keep the elements' order: what is in memory. */
export const stripped = (value: Value): Value =>
  value.kind === "view" && value.linear ? stripped(value.input) : value;

/**
 * The value of which all elements are to be in memory, and how far apart neighbours along each axis are there. Views that
 * only order axes anew are looked through; what another one shows is stored as it shows it.
 */
export function inMemory(value: Value): { readonly base: Value; readonly strides: readonly number[] } {
  let base = value;
  let at: readonly Coordinate[] = value.shape.map((_, axis) => ({ text: `axis ${axis}`, lanes: false }));
  const isPlain = ({ text }: Coordinate): boolean => text === ZERO.text || /^axis \d+$/.test(text);
  while (base.kind === "view") {
    const next = base.remap(at);
    if (!next.every(isPlain)) break;
    at = next;
    base = base.input;
  }
  const strides = value.shape.map(() => 0);
  for (let axis = base.shape.length - 1, stride = 1; axis >= 0; stride *= base.shape[axis--]) {
    const shown = value.shape.findIndex((_, index) => at[axis].text === `axis ${index}`);
    if (shown >= 0) strides[shown] = stride;
  }
  return { base, strides };
}
