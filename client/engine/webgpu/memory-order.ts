/** How a value's elements lie in memory: which value is stored, and in what order views show it. */

import { sameShape } from "../../../shared/graph/tensor.ts";
import { type Coordinate, ZERO } from "./coordinates.ts";
import type { Value } from "./values.ts";

/** Without views that keep the elements' order: what is in memory. */
export const stripped = (value: Value): Value =>
  value.kind === "view" && value.linear ? stripped(value.input) : value;

const isPlain = ({ text }: Coordinate): boolean => text === ZERO.text || /^axis \d+$/.test(text);

const plainAxes = ({ shape }: Value): Coordinate[] => shape.map((_, axis) => ({ text: `axis ${axis}`, lanes: false }));

/** How far apart neighbours along each axis of a value are in what it shows, if `at` is where its elements are there. */
function stridesOf(value: Value, base: Value, at: readonly Coordinate[]): number[] {
  const strides = value.shape.map(() => 0);
  for (let axis = base.shape.length - 1, stride = 1; axis >= 0; stride *= base.shape[axis--]) {
    const shown = value.shape.findIndex((_, index) => at[axis].text === `axis ${index}`);
    if (shown >= 0) strides[shown] = stride;
  }
  return strides;
}

/** A value's elements in memory: that of coordinates c is element `shift` + Σ strides·c of `base`. */
export interface Strided {
  readonly base: Value;
  readonly shift: number;
  readonly strides: readonly number[];
}

/** Looks through views and slices, as far as they only order axes anew, repeat or move them. */
export function stridedIn(value: Value): Strided {
  let base = value;
  let at: readonly Coordinate[] = plainAxes(value);
  for (;;) {
    let next: readonly Coordinate[];
    if (base.kind === "view") next = base.remap(at);
    else if (base.kind === "gather") {
      const places = base.positions(at).map((place) => {
        if ("lanes" in place) return place;
        return place.moved === undefined
          ? null
          : { ...place.moved.at, shift: (place.moved.at.shift ?? 0) + place.moved.by };
      });
      if (!places.every((place) => place !== null)) break;
      next = places;
    } else break;
    const shifts = (coordinates: readonly Coordinate[]): number =>
      coordinates.reduce((sum, { shift = 0 }) => sum + shift, 0);
    // A reshape that takes axes together that were moved one by one says nothing of how far.
    if (!next.every(isPlain) || shifts(next) < shifts(at)) break;
    at = next;
    base = base.input;
  }
  let shift = 0;
  for (let axis = base.shape.length - 1, stride = 1; axis >= 0; stride *= base.shape[axis--]) {
    shift += (at[axis].shift ?? 0) * stride;
  }
  return { base: stripped(base), shift, strides: stridesOf(value, base, at) };
}

/** How an operand of a product lies in memory, where its rows are read as they lie there; by itself where they are not. */
export function rowsIn(operand: Value, isWide: boolean): Strided {
  const found = stridedIn(operand);
  const last = operand.shape.length - 1;
  const steps = [found.shift, ...found.strides.slice(0, -1)];
  const fits =
    (operand.shape[last] === 1 || found.strides[last] === 1) && (!isWide || steps.every((step) => step % 4 === 0));
  if (fits) return found;
  const axes = plainAxes(operand);
  return { base: stripped(operand), shift: 0, strides: stridesOf(operand, operand, axes) };
}

/** Where an element of `value` is that is made of the element of `origin` at these coordinates; null if there is no such one. */
export function coordinatesThrough(
  value: Value,
  origin: Value,
  at: readonly Coordinate[],
  seen = new Set<Value>(),
): readonly Coordinate[] | null {
  if (value === origin) return at;
  if (seen.has(value)) return null;
  seen.add(value);
  if (value.kind === "view" && value.forward !== undefined) {
    const below = coordinatesThrough(value.input, origin, at, seen);
    return below === null ? null : value.forward(below);
  }
  if (value.kind !== "map") return null;
  for (const input of value.inputs) {
    const found = sameShape(input.shape, value.shape) ? coordinatesThrough(input, origin, at, seen) : null;
    if (found !== null) return found;
  }
  return null;
}

/**
 * The value of which all elements are to be in memory, and how far apart neighbours along each axis are there. Views that
 * only order axes anew are looked through; what another one shows is stored as it shows it.
 */
export function inMemory(value: Value): { readonly base: Value; readonly strides: readonly number[] } {
  let base = value;
  let at: readonly Coordinate[] = plainAxes(value);
  while (base.kind === "view") {
    const next = base.remap(at);
    if (!next.every(isPlain)) break;
    at = next;
    base = base.input;
  }
  return { base, strides: stridesOf(value, base, at) };
}
