/**
 * Matrix products: each thread computes a tile of the result in registers and hands every element to `finish`, which does
 * what follows (bias, activation, rounding into the gradient sum). No shared memory: neighbouring threads read the same rows,
 * and caches serve them.
 *
 * With width 4 everything is read and written as vec4f, which asks for rows that are multiples of 4; other sizes take width 1.
 */

import { plus, type Width } from "./expressions.ts";

export interface Product {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  /** A is [inner, rows] instead of [rows, inner]; B is [columns, inner] instead of [inner, columns]. */
  readonly transA: boolean;
  readonly transB: boolean;
}

/** What products are cut by. */
export interface Tuning {
  /** Threads that keep the adapter busy: tiles are made smaller until there are as many. */
  readonly threads: number;
  /** Threads of a workgroup. */
  readonly workgroup: number;
}

/** Reads element (width 1) or group of four (width 4) `index` of a matrix. */
export type Read = (index: string) => string;

export interface ProductText {
  readonly code: string;
  readonly workgroups: number;
  readonly workgroupSize: number;
}

/** Rows and columns of a thread's tile, from the most reuse to the most threads; columns in multiples of the width. */
const TILES = {
  // Dot products of rows: many rows of A, which neighbouring threads share, against few of B.
  dot: [
    [16, 8],
    [8, 8],
    [8, 4],
    [4, 4],
    [2, 4],
    [1, 4],
  ],
  outer: [
    [8, 16],
    [8, 8],
    [4, 8],
    [4, 4],
  ],
  scalar: [
    [8, 4],
    [4, 4],
    [4, 2],
    [2, 2],
    [1, 1],
  ],
} as const;

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

const LANES = ["x", "y", "z", "w"] as const;

/** Whether rows are such that everything can be read and written four at a time. */
export function allowsWidth4({ rows, inner, columns, transA, transB }: Product): boolean {
  if (columns % 4 !== 0 || (transA && transB)) return false;
  return (transA ? rows : inner) % 4 === 0;
}

function chooseTile({ rows, columns }: Product, kind: keyof typeof TILES, threads: number): readonly [number, number] {
  const tiles: readonly (readonly [number, number])[] = TILES[kind];
  const enough = tiles.find(([height, width]) => Math.ceil(rows / height) * Math.ceil(columns / width) >= threads);
  return enough ?? tiles[tiles.length - 1];
}

export function writeProduct(product: Product, width: Width, tuning: Tuning, a: Read, b: Read): ProductText {
  const { rows, columns, inner, transA, transB } = product;
  const kind = width === 1 ? "scalar" : transB ? "dot" : "outer";
  const [height, tileColumns] = chooseTile(product, kind, tuning.threads);
  const across = tileColumns / width;
  // Threads of a workgroup: x along the columns, interleaved so that neighbours read neighbouring elements.
  const tilesX = Math.ceil(columns / tileColumns);
  let x = 1;
  while (x < tilesX && x < 8) x *= 2;
  const y = Math.max(1, tuning.workgroup / x);
  const groupsX = Math.ceil(columns / (tileColumns * x));
  const groupsY = Math.ceil(rows / (height * y));

  const down = range(height);
  const right = range(across);
  const lines: string[] = [
    "let x = local % " + x + "u;",
    `let top = ((group / ${groupsX}u) * ${y}u + local / ${x}u) * ${height}u;`,
    `let left = (group % ${groupsX}u) * ${across * x}u + x;`,
  ];
  const lastColumn = columns / width - 1;
  // Outside the matrix the last row or column is read again; `finish` is not called for it.
  for (const j of right) lines.push(`let n${j} = min(left + ${j * x}u, ${lastColumn}u);`);
  const body: string[] = [];
  const accumulator = (i: number, j: number): string => `c${i}_${j}`;
  const step = kind === "scalar" || transA ? 1 : 4;

  if (kind === "outer" && transA) {
    for (const i of range(height / 4)) {
      lines.push(`let m${i} = min(top / 4u + ${i}u, ${rows / 4 - 1}u);`);
      body.push(`let a${i} = ${a(`k * ${rows / 4}u + m${i}`)};`);
    }
  } else {
    const pitch = transA ? `${rows}u` : `${inner / step}u`;
    for (const i of down) {
      const row = `min(top + ${i}u, ${rows - 1}u)`;
      lines.push(transA ? `let m${i} = ${row};` : `let m${i} = ${row} * ${pitch};`);
      body.push(`let a${i} = ${a(transA ? `k * ${pitch} + m${i}` : `m${i} + k`)};`);
    }
  }

  if (kind === "dot") {
    for (const j of right) {
      for (const [lane, name] of LANES.entries()) {
        lines.push(`let w${j}${name} = (n${j} * 4u + ${lane}u) * ${inner / 4}u;`);
        body.push(`let b${j}${name} = ${b(`w${j}${name} + k`)};`);
      }
    }
    for (const i of down) {
      for (const j of right) {
        for (const lane of LANES) {
          lines.push(`var ${accumulator(i, j)}${lane} = 0f;`);
          body.push(`${accumulator(i, j)}${lane} += dot(a${i}, b${j}${lane});`);
        }
      }
    }
  } else {
    for (const i of down) for (const j of right) lines.push(`var ${accumulator(i, j)} = T(0);`);
    for (const q of range(step)) {
      const row = step === 1 ? "k" : `(k * 4u + ${q}u)`;
      for (const j of right) {
        const index = transB ? `n${j} * ${inner}u + k` : `${row} * ${columns / width}u + n${j}`;
        body.push(`let b${q}_${j} = ${b(index)};`);
      }
      for (const i of down) {
        const factor = width === 1 ? `a${i}` : transA ? `a${i >> 2}.${LANES[i & 3]}` : `a${i}.${LANES[q]}`;
        for (const j of right) body.push(`${accumulator(i, j)} += ${factor} * b${q}_${j};`);
      }
    }
  }
  lines.push(`for (var k = 0u; k < ${Math.ceil(inner / step)}u; k++) {`, ...body, "}");

  for (const j of right) {
    lines.push(`if (left + ${j * x}u <= ${lastColumn}u) {`);
    for (const i of down) {
      const c = accumulator(i, j);
      const value = kind === "dot" ? `T(${LANES.map((lane) => `${c}${lane}`).join(", ")})` : c;
      lines.push(`if (top + ${i}u < ${rows}u) { finish(top + ${i}u, n${j} * ${width}u, ${value}); }`);
    }
    lines.push("}");
  }
  return { code: lines.join("\n"), workgroups: groupsX * groupsY, workgroupSize: x * y };
}

export { plus };
