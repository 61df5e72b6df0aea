/**
 * Matrix products in registers: each thread computes a tile of the result in registers and hands every element to `finish`, which does
 * what follows (bias, activation, rounding into the gradient sum). No shared memory: neighbouring threads read the same rows,
 * and caches serve them. Where caches do not, staged.ts does.
 *
 * With width 4 everything is read and written as vec4f, which asks for rows that are multiples of 4; other sizes take width 1.
 */

import type { Width } from "./expressions.ts";
import { writeStaged } from "./staged.ts";
import type { Product, Tuning } from "./tuning.ts";

/** Reads element (width 1) or group of four (width 4) `index` of the memory in which a matrix starts at `start_a` or `start_b`. */
export type Read = (index: string) => string;

export interface ProductText {
  /** Declarations outside of the kernel's functions. */
  readonly globals: string;
  readonly code: string;
  readonly workgroups: number;
  readonly workgroupSize: number;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

const LANES = ["x", "y", "z", "w"] as const;

/** A thread's tile while its loop over the inner dimension is written. Columns are counted in groups of the width. */
interface Tile {
  readonly product: Product;
  readonly down: readonly number[];
  readonly right: readonly number[];
  readonly a: Read;
  readonly b: Read;
  /** How far apart rows of A and of B are in memory, in groups of the width. */
  readonly pitchA: number;
  readonly pitchB: number;
  /** Whether the sums of A's rows are wanted, too. */
  readonly sumsRows: boolean;
}

interface Loop {
  /** Before the loop. The tile's first row is `top`; column j is `n<j>`, which is never outside the matrix. */
  readonly before: string[];
  /** One pass; `k` counts passes. */
  readonly body: string[];
  readonly passes: number;
  /** Element (i, j) of the tile after the loop. */
  readonly element: (i: number, j: number) => string;
  /** Sums of the rows, by group of the width; of forms that read A by columns. */
  readonly rowSums?: readonly string[];
}

interface Form {
  /** Rows and columns of a tile, from the most reuse to the most threads. */
  readonly tiles: readonly (readonly [rows: number, columns: number])[];
  write(tile: Tile): Loop;
}

/** Row i of the tile; below the matrix the last one is read again. */
const rowOf = (i: number, { rows }: Product): string => `min(top + ${i}u, ${rows - 1}u)`;

const sum = (i: number, j: number): string => `c${i}_${j}`;

const zeros = ({ down, right }: Tile, value = "T(0)"): string[] =>
  down.flatMap((i) => right.map((j) => `var ${sum(i, j)} = ${value};`));

/**
 * How many inner elements a pass takes where that is free: loop-carried sums are costly to touch, code is costly to compile.
 */
const unrolled = (inner: number): number => [4, 3, 2].find((step) => inner % step === 0) ?? 1;

/** A·Bᵀ: dot products of rows, four inner elements at a time. Many rows of A, which neighbouring threads share. */
const dotProducts: Form = {
  tiles: [
    [16, 8],
    [8, 8],
    [8, 4],
    [4, 4],
    [2, 4],
    [1, 4],
  ],
  write(tile) {
    const { product, down, right, a, b, pitchA, pitchB } = tile;
    const before = down.map((i) => `let m${i} = start_a + ${rowOf(i, product)} * ${pitchA}u;`);
    const body = down.map((i) => `let a${i} = ${a(`m${i} + k`)};`);
    for (const j of right) {
      for (const [lane, name] of LANES.entries()) {
        before.push(`let w${j}${name} = start_b + (n${j} * 4u + ${lane}u) * ${pitchB}u;`);
        body.push(`let b${j}${name} = ${b(`w${j}${name} + k`)};`);
        for (const i of down) {
          before.push(`var ${sum(i, j)}${name} = 0f;`);
          body.push(`${sum(i, j)}${name} += dot(a${i}, b${j}${name});`);
        }
      }
    }
    const element = (i: number, j: number): string => `T(${LANES.map((name) => `${sum(i, j)}${name}`).join(", ")})`;
    return { before, body, passes: product.inner / 4, element };
  },
};

/** A·B: four inner elements of A's rows at a time, each times a row of B. */
const outerByRows: Form = {
  tiles: [
    [16, 16],
    [8, 16],
    [8, 8],
    [4, 8],
    [4, 4],
    [2, 4],
    [1, 4],
  ],
  write(tile) {
    const { product, down, right, a, b, pitchA, pitchB } = tile;
    const before = [
      ...down.map((i) => `let m${i} = start_a + ${rowOf(i, product)} * ${pitchA}u;`),
      ...right.map((j) => `let w${j} = start_b + n${j};`),
      ...zeros(tile),
    ];
    const body = down.map((i) => `let a${i} = ${a(`m${i} + k`)};`);
    for (const [lane, name] of LANES.entries()) {
      for (const j of right) {
        body.push(`let b${lane}_${j} = ${b(`(k * 4u + ${lane}u) * ${pitchB}u + w${j}`)};`);
        for (const i of down) body.push(`${sum(i, j)} += a${i}.${name} * b${lane}_${j};`);
      }
    }
    return { before, body, passes: product.inner / 4, element: sum };
  },
};

/** Aᵀ·B: outer products of rows. */
const outerByColumns: Form = {
  tiles: [
    [16, 16],
    [8, 16],
    [8, 8],
    [4, 8],
    [4, 4],
  ],
  write(tile) {
    const { product, down, right, a, b, pitchA, pitchB, sumsRows } = tile;
    const { rows, inner } = product;
    const groups = range(down.length / 4);
    const summed = sumsRows ? groups : [];
    const before = [
      ...groups.map((group) => `let m${group} = start_a + min(top / 4u + ${group}u, ${rows / 4 - 1}u);`),
      ...right.map((j) => `let w${j} = start_b + n${j};`),
      ...zeros(tile),
      ...summed.map((group) => `var s${group} = T(0);`),
    ];
    const step = unrolled(inner);
    const body = range(step).flatMap((q) => {
      const row = `(k * ${step}u + ${q}u)`;
      return [
        ...groups.map((group) => `let a${q}_${group} = ${a(`${row} * ${pitchA}u + m${group}`)};`),
        ...right.map((j) => `let b${q}_${j} = ${b(`${row} * ${pitchB}u + w${j}`)};`),
        ...down.flatMap((i) => right.map((j) => `${sum(i, j)} += a${q}_${i >> 2}.${LANES[i & 3]} * b${q}_${j};`)),
        ...summed.map((group) => `s${group} += a${q}_${group};`),
      ];
    });
    return { before, body, passes: inner / step, element: sum, rowSums: summed.map((group) => `s${group}`) };
  },
};

/** Any sizes and any order of the operands. */
const scalars: Form = {
  tiles: [
    [8, 4],
    [4, 4],
    [4, 2],
    [2, 2],
    [1, 1],
  ],
  write(tile) {
    const { product, down, right, a, b, pitchA, pitchB, sumsRows } = tile;
    const { inner, transA, transB } = product;
    const summed = sumsRows ? down : [];
    const before = [
      ...down.map((i) => `let m${i} = start_a + ${rowOf(i, product)}${transA ? "" : ` * ${pitchA}u`};`),
      ...right.map((j) => `let w${j} = start_b + n${j}${transB ? ` * ${pitchB}u` : ""};`),
      ...zeros(tile),
      ...summed.map((i) => `var s${i} = T(0);`),
    ];
    const step = unrolled(inner);
    const body = range(step).flatMap((q) => {
      const k = `(k * ${step}u + ${q}u)`;
      return [
        ...down.map((i) => `let a${q}_${i} = ${a(transA ? `${k} * ${pitchA}u + m${i}` : `m${i} + ${k}`)};`),
        ...right.map((j) => `let b${q}_${j} = ${b(transB ? `w${j} + ${k}` : `${k} * ${pitchB}u + w${j}`)};`),
        ...down.flatMap((i) => right.map((j) => `${sum(i, j)} += a${q}_${i} * b${q}_${j};`)),
        ...summed.map((i) => `s${i} += a${q}_${i};`),
      ];
    });
    return { before, body, passes: inner / step, element: sum, rowSums: summed.map((i) => `s${i}`) };
  },
};

/** Whether rows are such that everything can be read and written four at a time. */
export function allowsWidth4({ rows, inner, columns, transA, transB }: Product): boolean {
  if (columns % 4 !== 0 || (transA && transB)) return false;
  return (transA ? rows : inner) % 4 === 0;
}

function formOf({ transA, transB }: Product, width: Width): Form {
  if (width === 1) return scalars;
  return transB ? dotProducts : transA ? outerByColumns : outerByRows;
}

/** One thread of each row hands the rows' sums over. */
export function finishRows(
  isFirst: string,
  sums: readonly { readonly name: string; readonly row: string }[],
  { rows }: Product,
): string {
  if (sums.length === 0) return "";
  const calls = sums.map(({ name, row }) => `if (${row} < ${rows}u) { finish_rows(${row}, ${name}); }`);
  return `if (${isFirst}) {\n${calls.join("\n")}\n}`;
}

/** The largest tile that leaves enough threads. */
function chooseTile(
  { rows, columns, batch }: Product,
  { tiles }: Form,
  { threads, tile }: Tuning,
): readonly [number, number] {
  const allowed = tiles.filter(([height, width]) => height * width <= tile);
  const enough = allowed.find(
    ([height, width]) => batch * Math.ceil(rows / height) * Math.ceil(columns / width) >= threads,
  );
  return enough ?? tiles[tiles.length - 1];
}

export interface Operands {
  readonly a: Read;
  readonly b: Read;
  readonly pitchA: number;
  readonly pitchB: number;
  /** What reading them takes; `batch` is known. */
  readonly before: readonly string[];
  /** Whether `finish_rows(row, sums)` is called, too, with the sums of A's rows, as many at a time as the width. */
  readonly sumsRows: boolean;
}

/** Products that may be asked for the sums of A's rows, because their forms read A by columns. */
export const canSumRows = ({ transA, transB, batch }: Product): boolean => transA && !transB && batch === 1;

/** The kernel's code; it calls `finish(batch, row, column, elements)` for each element or group of four. */
export const writeProduct = (product: Product, width: Width, tuning: Tuning, operands: Operands): ProductText =>
  width === 4 && tuning.stages
    ? writeStaged(product, tuning, operands)
    : writeInRegisters(product, width, tuning, operands);

function writeInRegisters(
  product: Product,
  width: Width,
  tuning: Tuning,
  { a, b, pitchA, pitchB, before: starts, sumsRows }: Operands,
): ProductText {
  const { rows, columns, batch } = product;
  const form = formOf(product, width);
  const [height, tileColumns] = chooseTile(product, form, tuning);
  const across = tileColumns / width;
  // A workgroup's threads: x along the columns, interleaved so that neighbours read neighbouring elements.
  const x = Math.min(8, 2 ** Math.ceil(Math.log2(Math.ceil(columns / tileColumns))));
  const y = Math.max(1, tuning.workgroup / x);
  const groupsX = Math.ceil(columns / (tileColumns * x));
  const groupsY = Math.ceil(rows / (height * y));
  const lastColumn = columns / width - 1;

  const [down, right] = [range(height), range(across)];
  const {
    before,
    body,
    passes,
    element,
    rowSums = [],
  } = form.write({ product, down, right, a, b, pitchA, pitchB, sumsRows });
  // `finish` is called in a loop: it may be long, and would otherwise be compiled once for every element of the tile.
  const block = batch > 1 ? "block" : "group";
  const code = `let batch = ${batch > 1 ? `group / ${groupsX * groupsY}u` : "0u"};
${batch > 1 ? `let block = group % ${groupsX * groupsY}u;` : ""}
let top = ((${block} / ${groupsX}u) * ${y}u + local / ${x}u) * ${height}u;
let left = (${block} % ${groupsX}u) * ${across * x}u + local % ${x}u;
${right.map((j) => `let n${j} = min(left + ${j * x}u, ${lastColumn}u);`).join("\n")}
${[...starts, ...before].join("\n")}
for (var k = 0u; k < ${passes}u; k++) {
${body.join("\n")}
}
var tile = array<T, ${height * across}>(${down.flatMap((i) => right.map((j) => element(i, j))).join(", ")});
for (var e = 0u; e < ${height * across}u; e++) {
let row = top + e / ${across}u;
let column = left + (e % ${across}u) * ${x}u;
if (row < ${rows}u && column <= ${lastColumn}u) { finish(batch, row, column * ${width}u, tile[e]); }
}
${finishRows(
  "left == 0u",
  rowSums.map((name, group) => ({ name, row: `top + ${group * width}u` })),
  product,
)}`;
  return { globals: "", code, workgroups: batch * groupsX * groupsY, workgroupSize: x * y };
}
