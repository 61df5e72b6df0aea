/**
 * Coordinates in generated code: WGSL expressions of type u32, one for each axis. In a kernel that works on four elements
 * at a time one of them stands for four consecutive ones (`lanes`), the first of which is a multiple of 4.
 */

import { sizeOf } from "../../../shared/graph/tensor.ts";

export interface Coordinate {
  readonly text: string;
  readonly lanes: boolean;
  /** What it was split from, so that it becomes that again: (whole / below) % size of its axis, the whole running to `total`. */
  /** Constant to be added to it, where what is in memory is looked for (memory-order.ts). */
  readonly shift?: number;
  readonly part?: { readonly whole: string; readonly total: number; readonly below: number };
}

/** Thrown while a kernel is tried out: these values cannot be computed there, or not four at a time. */
export class Misfit extends Error {}

export const ZERO: Coordinate = { text: "0u", lanes: false };

/** A part of a coordinate, along an axis of this size; the whole if it is all of it. */
function partOf({ whole, total, below }: NonNullable<Coordinate["part"]>, size: number, lanes: boolean): Coordinate {
  if (size === total) return { text: whole, lanes };
  const above = below === 1 ? whole : `(${whole} / ${below}u)`;
  return { text: below * size === total ? above : `(${above} % ${size}u)`, lanes, part: { whole, total, below } };
}

/** Neighbouring axes whose coordinates were split from one, as one. The last axis comes first. */
function runsOf(coordinates: readonly Coordinate[], shape: readonly number[]): { at: Coordinate; stride: number }[] {
  const runs: { at: Coordinate; size: number; stride: number }[] = [];
  for (let axis = shape.length - 1, stride = 1; axis >= 0; stride *= shape[axis--]) {
    const [at, size] = [coordinates[axis], shape[axis]];
    if (size === 1 || at.text === ZERO.text) continue;
    const run = runs.at(-1);
    const part = run?.at.part;
    const isNext = part !== undefined && at.part?.whole === part.whole && at.part.total === part.total;
    if (run !== undefined && isNext && at.part?.below === part.below * run.size && stride === run.stride * run.size) {
      run.size *= size;
      run.at = partOf(part, run.size, run.at.lanes);
    } else runs.push({ at, size, stride });
  }
  return runs;
}

/** Row-major index of an element as `factor × coordinate` terms; the one with lanes apart. */
export function address(
  coordinates: readonly Coordinate[],
  shape: readonly number[],
): { readonly text: string; readonly laneStride: number } {
  const runs = runsOf(coordinates, shape);
  const terms = runs.map(({ at, stride }) => (stride === 1 ? at.text : `${at.text} * ${stride}u`));
  const laneStride = runs.find(({ at }) => at.lanes)?.stride ?? 0;
  return { text: terms.length === 0 ? ZERO.text : `(${terms.reverse().join(" + ")})`, laneStride };
}

/** Splits a row-major index into coordinates. Four lanes must stay within one row. */
export function split({ text, lanes, part }: Coordinate, shape: readonly number[]): Coordinate[] {
  const { whole, total, below } = part ?? { whole: text, total: sizeOf(shape), below: 1 };
  const result: Coordinate[] = shape.map(() => ZERO);
  let next = below;
  let within = lanes;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis];
    if (size === 1) continue;
    if (within && (size % 4 !== 0 || next > 1)) throw new Misfit();
    result[axis] = partOf({ whole, total, below: next }, size, within);
    next *= size;
    within = false;
  }
  return result;
}

/** One coordinate over neighbouring axes, row-major. */
function merged(coordinates: readonly Coordinate[], sizes: readonly number[]): Coordinate {
  const [run, ...others] = runsOf(coordinates, sizes);
  if (run?.stride === 1 && others.length === 0) return run.at;
  const { text, laneStride } = address(coordinates, sizes);
  if (laneStride > 1) throw new Misfit();
  return { text, lanes: laneStride === 1 };
}

/** Coordinates in `to` of the element at `coordinates` in `from`, both of the same size and row-major. */
export function reshapeCoordinates(
  coordinates: readonly Coordinate[],
  from: readonly number[],
  to: readonly number[],
): Coordinate[] {
  const given = from.flatMap((size, axis) => (size === 1 ? [] : [{ size, at: coordinates[axis] }]));
  const result = to.map(() => ZERO);
  const wanted = to.flatMap((size, axis) => (size === 1 ? [] : [{ size, axis }]));
  // Runs of axes of the same size on both sides are independent of each other.
  for (let [a, b] = [0, 0]; a < given.length; ) {
    let [left, right] = [given[a].size, wanted[b].size];
    let [aEnd, bEnd] = [a + 1, b + 1];
    while (left !== right) {
      if (left < right) left *= given[aEnd++].size;
      else right *= wanted[bEnd++].size;
    }
    const [ins, outs] = [given.slice(a, aEnd), wanted.slice(b, bEnd)];
    const whole =
      ins.length === 1
        ? ins[0].at
        : merged(
            ins.map(({ at }) => at),
            ins.map(({ size }) => size),
          );
    const parts =
      outs.length === 1
        ? [whole]
        : split(
            whole,
            outs.map(({ size }) => size),
          );
    for (const [index, { axis }] of outs.entries()) result[axis] = parts[index];
    [a, b] = [aEnd, bEnd];
  }
  return result;
}

export const sameCoordinates = (a: readonly Coordinate[], b: readonly Coordinate[]): boolean =>
  a.length === b.length && a.every(({ text }, axis) => text === b[axis].text);

/** Text of a coordinate that is to be moved: four lanes would not stay together. */
export function single({ text, lanes }: Coordinate): string {
  if (lanes) throw new Misfit();
  return text;
}
