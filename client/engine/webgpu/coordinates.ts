/**
 * Coordinates in generated code: WGSL expressions of type u32, one for each axis. In a kernel that works on four elements
 * at a time one of them stands for four consecutive ones (`lanes`), the first of which is a multiple of 4.
 */

import { sizeOf } from "../../../shared/graph/tensor.ts";

export interface Coordinate {
  readonly text: string;
  readonly lanes: boolean;
}

/** Thrown while a kernel is tried out: these values cannot be computed there, or not four at a time. */
export class Misfit extends Error {}

export const ZERO: Coordinate = { text: "0u", lanes: false };

const nontrivial = (shape: readonly number[]): number[] => shape.filter((size) => size !== 1);

/** Coordinates of `shape` whose axes longer than 1 are, in order, those that `long` runs along; null if there are others. */
export function spread(
  shape: readonly number[],
  long: readonly { readonly size: number; readonly at: Coordinate }[],
): Coordinate[] | null {
  if (nontrivial(shape).join() !== long.map(({ size }) => size).join()) return null;
  let next = 0;
  return shape.map((size) => (size === 1 ? ZERO : long[next++].at));
}

/** Row-major index of an element as `factor × coordinate` terms; the one with lanes apart. */
export function address(
  coordinates: readonly Coordinate[],
  shape: readonly number[],
): { readonly text: string; readonly laneStride: number } {
  const terms: string[] = [];
  let laneStride = 0;
  for (let axis = shape.length - 1, stride = 1; axis >= 0; stride *= shape[axis--]) {
    const { text, lanes } = coordinates[axis];
    if (shape[axis] === 1 || text === ZERO.text) continue;
    if (lanes) laneStride = stride;
    terms.push(stride === 1 ? text : `${text} * ${stride}u`);
  }
  return { text: terms.length === 0 ? ZERO.text : `(${terms.reverse().join(" + ")})`, laneStride };
}

/** Splits a row-major index into coordinates. Four lanes must stay within one row. */
export function split({ text, lanes }: Coordinate, shape: readonly number[]): Coordinate[] {
  const result: Coordinate[] = shape.map(() => ZERO);
  let rest = text;
  let within = lanes;
  for (let axis = shape.length - 1, left = sizeOf(shape); axis >= 0; axis--) {
    const size = shape[axis];
    if (size === 1) continue;
    if (within && size % 4 !== 0) throw new Misfit();
    result[axis] = { text: left === size ? rest : `(${rest} % ${size}u)`, lanes: within };
    rest = `(${rest} / ${size}u)`;
    left /= size;
    within = false;
  }
  return result;
}

/** Coordinates in `to` of the element at `coordinates` in `from`, both of the same size and row-major. */
export function reshapeCoordinates(
  coordinates: readonly Coordinate[],
  from: readonly number[],
  to: readonly number[],
): readonly Coordinate[] {
  const long = from.flatMap((size, axis) => (size === 1 ? [] : [{ size, at: coordinates[axis] }]));
  const same = spread(to, long);
  if (same !== null) return same;
  const { text, laneStride } = address(coordinates, from);
  if (laneStride > 1) throw new Misfit();
  return split({ text, lanes: laneStride === 1 }, to);
}

export const sameCoordinates = (a: readonly Coordinate[], b: readonly Coordinate[]): boolean =>
  a.length === b.length && a.every(({ text }, axis) => text === b[axis].text);

/** Text of a coordinate that is to be moved: four lanes would not stay together. */
export function single({ text, lanes }: Coordinate): string {
  if (lanes) throw new Misfit();
  return text;
}
