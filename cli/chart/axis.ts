/**
 * One axis of a chart, linear or logarithmic: where a value lies between the ends, and the values that get a tick. Plain
 * arithmetic that the drawings share, svg.ts and terminal.ts.
 */

/** A point of a curve, in the units of the axes. */
export type Point = readonly [x: number, y: number];

/** Smallest and largest value. */
export type Range = readonly [from: number, to: number];

export interface AxisOptions {
  /** Logarithmic: values of 0 and less are not drawn. */
  readonly log: boolean;
  /** What is shown; by default everything that can be. */
  readonly range?: Range | undefined;
  /** Portion of what is shown that is left empty at each end, where there is no `range`; none by default. */
  readonly margin?: number;
  /** About how many ticks fit. */
  readonly ticks: number;
}

export interface Axis {
  /** 0 at the smallest value shown, 1 at the largest; outside of it beyond them. NaN for what cannot be drawn. */
  place(value: number): number;
  readonly ticks: readonly { readonly value: number; readonly label: string }[];
}

/** Digits at which the steps between ticks begin. */
const STEPS = [1, 2, 5, 10];
/** Above so many decades a logarithmic axis has ticks at powers of ten alone. */
const FINE_DECADES = 2;

/** Rounds off what adding tenths leaves behind. */
const tidy = (value: number): number => Number(value.toPrecision(12));

function extent(values: readonly number[], log: boolean): Range {
  const [least, most] = log ? [1, 10] : [0, 1];
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    if (!Number.isFinite(value) || (log && value <= 0)) continue;
    from = Math.min(from, value);
    to = Math.max(to, value);
  }
  return from <= to ? [from, to] : [least, most];
}

/** A range of one value is given some width around it. */
function widen([from, to]: Range, log: boolean): Range {
  if (from < to) return [from, to];
  if (log) return [from / 2, to * 2];
  const margin = Math.abs(from) / 2 || 1;
  return [from - margin, to + margin];
}

/** Room at both ends, but none below 0 for what is never negative. */
function pad([from, to]: Range, log: boolean, margin: number): Range {
  if (log) return [from * (from / to) ** margin, to * (to / from) ** margin];
  const room = (to - from) * margin;
  return [from >= 0 ? Math.max(0, from - room) : from - room, to + room];
}

/** Multiples of 1, 2 or 5 times a power of ten. */
function linearTicks([from, to]: Range, count: number): number[] {
  const rough = (to - from) / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * (STEPS.find((digit) => digit * unit >= rough * (1 - 1e-9)) ?? 10);
  const first = Math.ceil(from / step - 1e-9);
  const last = Math.floor(to / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => tidy((first + index) * step));
}

/** Powers of ten, as many as fit; over few decades 1, 2 and 5 of each; and within one decade as on a linear axis. */
function logTicks([from, to]: Range, count: number): number[] {
  const [low, high] = [Math.log10(from), Math.log10(to)];
  const decades = high - low;
  const digits = decades > FINE_DECADES ? [1] : [1, 2, 5];
  const stride = Math.max(1, Math.ceil(decades / count));
  const ticks: number[] = [];
  for (let power = Math.floor(low / stride) * stride; power <= high; power += stride) {
    for (const digit of digits) {
      const value = Number(`${digit}e${power}`);
      if (value >= from * (1 - 1e-9) && value <= to * (1 + 1e-9)) ticks.push(value);
    }
  }
  return ticks.length >= 2 ? ticks : linearTicks([from, to], count);
}

/** All labels of an axis in one way, so that they compare: decimals, or where those would be long, `2e-5`. */
function labelTicks(ticks: readonly number[], log: boolean): string[] {
  const sizes = ticks.filter((tick) => tick !== 0).map(Math.abs);
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
  if (log ? least < 1e-3 || most >= 1e5 : most < 1e-3 || most >= 1e6) {
    return ticks.map((tick) => (tick === 0 || tick === 1 ? String(tick) : tick.toExponential().replace("e+", "e")));
  }
  if (log) return ticks.map(String);
  const decimals = Math.max(0, ...ticks.map((tick) => (String(tick).split(".")[1] ?? "").length));
  return ticks.map((tick) => tick.toFixed(decimals));
}

/** @param values everything that is to be drawn; what is not finite is passed over */
export function createAxis(values: readonly number[], { log, range, margin = 0, ticks }: AxisOptions): Axis {
  const [from, to] = range === undefined ? pad(widen(extent(values, log), log), log, margin) : widen(range, log);
  const scale = log ? Math.log10 : (value: number) => value;
  const [low, high] = [scale(from), scale(to)];
  const chosen = log ? logTicks([from, to], ticks) : linearTicks([from, to], ticks);
  const labels = labelTicks(chosen, log);
  return {
    place: (value) => {
      const portion = (scale(value) - low) / (high - low);
      return Number.isFinite(portion) ? portion : Number.NaN;
    },
    ticks: chosen.map((value, index) => ({ value, label: labels[index] })),
  };
}

/** Runs of points that can be drawn, in order: a curve has a gap where a value is not finite. */
export function segments(points: readonly Point[], x: Axis, y: Axis): Point[][] {
  const runs: Point[][] = [[]];
  for (const [valueX, valueY] of points) {
    const place: Point = [x.place(valueX), y.place(valueY)];
    if (place.every(Number.isFinite)) runs[runs.length - 1].push(place);
    else runs.push([]);
  }
  return runs.filter((run) => run.length > 0);
}
