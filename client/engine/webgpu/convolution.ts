/**
 * Convolutions as products that are never gathered (implicit GEMM): each thread computes a tile of some output channels by
 * some neighbours along the last axis. For each channel and row of the kernel it reads the elements that the tile's windows
 * lie on once, and uses each of them for every tap and output channel that it belongs to.
 *
 * The adjoint is the same loop with the roles of windows and elements exchanged: which taps reach an element depends on its
 * place modulo the stride, which is known along the last axis when the code is written, and asked along the others.
 */

import type { Windows } from "../../../shared/graph/ops/windows.ts";
import { sizeOf } from "../../../shared/graph/tensor.ts";
import type { Tuning } from "./tuning.ts";

export interface Convolution {
  /** Geometry; the output runs over its windows (`under`) or over its plane (`over`, the adjoint). */
  readonly windows: Windows;
  readonly direction: "under" | "over";
  readonly samples: number;
  readonly outputs: number;
  /** Input channels of one group. */
  readonly channels: number;
  readonly group: number;
  /** Parts into which the sum over channels is cut, each with an output of its own: a leading axis where more than 1. */
  readonly parts: number;
}

/** An operand in memory: where it starts, how far apart neighbours along each axis are, and how one is read. */
export interface Operand {
  readonly start: string;
  readonly strides: readonly number[];
  readonly read: (index: string) => string;
}

export interface ConvolutionText {
  readonly code: string;
  readonly workgroups: number;
  readonly workgroupSize: number;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

const last = <Item>(items: readonly Item[]): Item => items[items.length - 1];

/** Sizes of the output's axes after the channel. */
export const outputSizes = ({ windows, direction }: Convolution): readonly number[] =>
  direction === "under" ? windows.count : windows.plane;

/** Sizes of the input's axes after the channel. */
const inputSizes = ({ windows, direction }: Convolution): readonly number[] =>
  direction === "under" ? windows.plane : windows.count;

const MOST_TAPS = 8;

/**
 * Taps along the last axis that one pass takes. Where the adjoint has a stride, a pass must not change which of them reach an
 * element.
 */
function tapsOfPass({ windows, direction }: Convolution): number {
  const [taps, stride, dilation] = [last(windows.kernel), last(windows.strides), last(windows.dilations)];
  const fits = (count: number): boolean =>
    taps % count === 0 && (direction === "under" || (count * dilation) % stride === 0);
  return (
    range(Math.min(taps, MOST_TAPS))
      .map((index) => index + 1)
      .reverse()
      .find(fits) ?? taps
  );
}

/** Longest tile along the last axis, and most output channels of one. */
const LONGEST = 16;

/** Tiles of output channels by neighbours, from the most reuse to the most threads. */
function tilesOf(convolution: Convolution): (readonly [outputs: number, along: number])[] {
  const { outputs, group, windows, direction } = convolution;
  const length = last(outputSizes(convolution));
  // Tiles of the adjoint start at multiples of the stride.
  const step = direction === "over" ? last(windows.strides) : 1;
  const waste = (size: number, tile: number): number => (Math.ceil(size / tile) * tile) / size;
  const lengths = range(Math.ceil(Math.min(length, LONGEST) / step))
    .map((index) => (index + 1) * step)
    .filter((tile) => tile <= step || waste(length, tile) <= 1.15);
  const perGroup = outputs / group;
  const heights = range(Math.min(perGroup, LONGEST))
    .map((index) => index + 1)
    .filter((tile) => perGroup % tile === 0);
  const tiles = heights.flatMap((height) => lengths.map((along): readonly [number, number] => [height, along]));
  // Loads by product: few of them first.
  const loads = ([height, along]: readonly [number, number]): number => 1 / height + 1 / along;
  return tiles.sort((a, b) => loads(a) - loads(b));
}

const threadsOf = (convolution: Convolution, [height, along]: readonly [number, number]): number => {
  const sizes = outputSizes(convolution);
  const rows = sizeOf(sizes.slice(0, -1));
  return (
    convolution.parts * convolution.samples * (convolution.outputs / height) * rows * Math.ceil(last(sizes) / along)
  );
};

/** The fewest parts that keep an adapter busy with the best tile, although there are few outputs. */
export function partsOf(convolution: Omit<Convolution, "parts">, { threads, tile }: Tuning): number {
  const whole = { ...convolution, parts: 1 };
  const best = tilesOf(whole).find(([height, along]) => height * along <= tile) ?? [1, 1];
  const wanted = threads / threadsOf(whole, best);
  const { channels, group } = convolution;
  // Fewer would leave too few additions to each part to pay for another pass over the outputs.
  if (wanted <= 1 || group > 1 || channels * sizeOf(convolution.windows.kernel) < LEAST_ADDITIONS) return 1;
  const divisors = range(channels).flatMap((index) => (channels % (index + 1) === 0 ? [index + 1] : []));
  return divisors.find((parts) => parts >= wanted) ?? channels;
}

/** A sum of so many terms is worth cutting into parts. */
const LEAST_ADDITIONS = 512;

const LOADED = "x";

/** A condition and an index along an axis, for a tap: `i<axis>` is the index of the input's row. */
function rowOf({ windows, direction }: Convolution, axis: number): string[] {
  const { strides, begins, dilations, plane, count } = windows;
  const [stride, begin, dilation] = [strides[axis], begins[axis], dilations[axis]];
  if (direction === "under") {
    return [
      `let i${axis} = i32(o${axis}) * ${stride} + i32(t${axis}) * ${dilation} - ${begin};`,
      `if (i${axis} < 0 || i${axis} >= ${plane[axis]}) { continue; }`,
    ];
  }
  const at = `i32(o${axis}) + ${begin} - i32(t${axis}) * ${dilation}`;
  if (stride === 1) {
    return [`let i${axis} = ${at};`, `if (i${axis} < 0 || i${axis} >= ${count[axis]}) { continue; }`];
  }
  return [
    `let s${axis} = ${at};`,
    `if (s${axis} < 0 || s${axis} >= ${count[axis] * stride} || s${axis} % ${stride} != 0) { continue; }`,
    `let i${axis} = s${axis} / ${stride};`,
  ];
}

/** What a tile's element at `along` reads under tap `tap` of a pass: how far from the tile's first; null where nothing. */
function distance({ windows, direction }: Convolution, along: number, tap: number): number | null {
  const [stride, begin, dilation] = [last(windows.strides), last(windows.begins), last(windows.dilations)];
  if (direction === "under") return along * stride + tap * dilation - begin;
  const at = along + begin - tap * dilation;
  return at % stride === 0 ? at / stride : null;
}

/**
 * The kernel's code; it calls `finish(part, n, m, o0, …, value)` for each element.
 * @param x the input [samples, channels of all groups, …]
 * @param w the weights [outputs, channels, …kernel]
 */
export function writeConvolution(
  convolution: Convolution,
  { threads, workgroup, tile: most }: Tuning,
  x: Operand,
  w: Operand,
): ConvolutionText {
  const { windows, direction, samples, outputs, channels, group, parts } = convolution;
  const sizes = outputSizes(convolution);
  const axes = sizes.length;
  const [lastAxis, length] = [axes - 1, last(sizes)];
  const tiles = tilesOf(convolution).filter(([height, along]) => height * along <= most);
  const [height, along] =
    tiles.find((tile) => threadsOf(convolution, tile) >= threads) ?? last(tiles) ?? last(tilesOf(convolution));
  const count = threadsOf(convolution, [height, along]);
  const tilesAlong = Math.ceil(length / along);
  const outer = range(lastAxis);
  const taps = tapsOfPass(convolution);
  const passes = last(windows.kernel) / taps;
  const width = last(inputSizes(convolution));

  const [down, right, within] = [range(height), range(along), range(taps)];
  const distances = new Map<number, string>();
  for (const p of right) {
    for (const t of within) {
      const from = distance(convolution, p, t);
      if (from !== null && !distances.has(from)) distances.set(from, `${LOADED}${distances.size}`);
    }
  }
  const [least, greatest] = [Math.min(...distances.keys()), Math.max(...distances.keys())];
  // Where the tile's first element reads, and how far a pass moves it.
  const stride = last(windows.strides);
  const start = direction === "under" ? `tile * ${along * stride}u` : `tile * ${along / stride}u`;
  const dilation = last(windows.dilations);
  const move = passes === 1 ? 0 : direction === "under" ? taps * dilation : -(taps * dilation) / stride;
  const farthest = (tilesAlong - 1) * (direction === "under" ? along * stride : along / stride);
  const reached = [least + Math.min(0, (passes - 1) * move), greatest + farthest + Math.max(0, (passes - 1) * move)];
  const isInside = reached[0] >= 0 && reached[1] < width;
  const load = (from: number): string => {
    const at = `base + ${from}`;
    if (isInside) return x.read(`row + u32(${at}) * ${x.strides[axes + 1]}u`);
    const place = `u32(clamp(${at}, 0, ${width - 1}))`;
    return `select(0f, ${x.read(`row + ${place} * ${x.strides[axes + 1]}u`)}, ${at} >= 0 && ${at} < ${width})`;
  };
  const used = (t: number): number[] => right.filter((p) => distance(convolution, p, t) !== null);
  const body = [
    `let base = i32(${start})${passes === 1 ? "" : ` + i32(turn) * ${move}`};`,
    ...[...distances].map(([from, name]) => `let ${name} = ${load(from)};`),
    ...within.flatMap((t) => [
      ...(used(t).length === 0
        ? []
        : down.map((i) => `let w${t}_${i} = ${w.read(`tap + ${i * w.strides[0] + t * w.strides[axes + 1]}u`)};`)),
      ...down.flatMap((i) =>
        used(t).map((p) => `c${i}_${p} += w${t}_${i} * ${distances.get(distance(convolution, p, t) ?? 0)};`),
      ),
    ]),
  ];
  const pass = taps * w.strides[axes + 1];
  const loops = [
    `for (var c = first; c < first + ${channels / parts}u; c++) {`,
    ...outer.flatMap((axis) => [
      `for (var t${axis} = 0u; t${axis} < ${windows.kernel[axis]}u; t${axis}++) {`,
      ...rowOf(convolution, axis),
    ]),
    `let row = sample + c * ${x.strides[1]}u${outer.map((axis) => ` + u32(i${axis}) * ${x.strides[axis + 2]}u`).join("")};`,
    `let taps = weight + c * ${w.strides[1]}u${outer.map((axis) => ` + t${axis} * ${w.strides[axis + 2]}u`).join("")};`,
    passes === 1 ? "{" : `for (var turn = 0u; turn < ${passes}u; turn++) {`,
    `let tap = taps${passes === 1 ? "" : ` + turn * ${pass}u`};`,
    ...body,
    "}",
    ...outer.map(() => "}"),
    "}",
  ];
  const perGroup = outputs / group;
  const channel = group === 1 ? "" : ` + (m / ${perGroup}u) * ${channels * x.strides[1]}u`;
  // From a thread's number to its tile, the last axis fastest.
  const split: string[] = [`var rest = group * ${workgroup}u + local;`, `if (rest >= ${count}u) { return; }`];
  const take = (name: string, size: number): void => {
    split.push(
      size === 1 ? `let ${name} = 0u;` : `let ${name} = rest % ${size}u;`,
      ...(size === 1 ? [] : [`rest /= ${size}u;`]),
    );
  };
  take("tile", tilesAlong);
  for (const axis of outer.toReversed()) take(`o${axis}`, sizes[axis]);
  take("mTile", outputs / height);
  take("n", samples);
  split.push(`let part = rest;`, `let m = mTile * ${height}u;`);
  const code = [
    ...split,
    `let first = part * ${channels / parts}u;`,
    `let sample = ${x.start} + n * ${x.strides[0]}u${channel};`,
    `let weight = ${w.start} + m * ${w.strides[0]}u;`,
    ...down.flatMap((i) => right.map((p) => `var c${i}_${p} = 0f;`)),
    ...loops,
    `var values = array<f32, ${height * along}>(${down.flatMap((i) => right.map((p) => `c${i}_${p}`)).join(", ")});`,
    `for (var e = 0u; e < ${height * along}u; e++) {`,
    `let at = tile * ${along}u + e % ${along}u;`,
    `if (at < ${length}u) { finish(part, n, m + e / ${along}u, ${outer.map((axis) => `o${axis}, `).join("")}at, values[e]); }`,
    "}",
  ].join("\n");
  return { code, workgroups: Math.ceil(count / workgroup), workgroupSize: workgroup };
}

/** Multiply-adds count as two. */
export const convolutionWork = (convolution: Convolution): number =>
  2 *
  convolution.samples *
  convolution.outputs *
  sizeOf(outputSizes(convolution)) *
  convolution.channels *
  sizeOf(convolution.windows.kernel);
