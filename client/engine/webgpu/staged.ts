/**
 * Matrix products whose workgroups stage 16 inner elements of all their rows and columns in shared memory, from where each
 * thread reads them several times. 8×8 threads; thread (x, y) has groups of 4 rows and of 4 columns, 8 groups apart, so that
 * neighbours read neighbouring groups. Everything is a vec4f: operands that lie along the inner dimension are turned in
 * blocks of 4×4 while they are staged.
 */

import { finishRows, type Operands, type ProductText, type Read } from "./product.ts";
import type { Product, Tuning } from "./tuning.ts";

/** Threads along each side of a workgroup, and inner elements of a stage. */
const SIDE = 8;
const DEPTH = 16;

/** Groups of four rows and of four columns of a thread, from the most reuse to the most threads. */
const TILES = [
  [2, 2],
  [1, 2],
  [2, 1],
  [1, 1],
] as const;

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

const LANES = ["x", "y", "z", "w"] as const;

/** One operand while it is staged: `groups` groups of four rows (of A) or columns (of B), from group `first` on. */
interface Side {
  readonly name: "a" | "b";
  readonly read: Read;
  readonly pitch: number;
  readonly groups: number;
  readonly first: string;
  /** Rows or columns of the matrix. */
  readonly extent: number;
  /** Whether four neighbours in memory are four rows or columns, and not four inner elements. */
  readonly direct: boolean;
}

/** Each thread stages a block of 4×4, as long as there are blocks. Past the matrix's edge its last group is read again. */
function stage({ name, read, pitch, groups, first, extent, direct }: Side, inner: number): string {
  const blocks = groups * (DEPTH / 4);
  const steps = range(4);
  const lines = direct
    ? [
        `let g = local % ${groups}u;`,
        `let q = local / ${groups}u;`,
        `let own = min(${first} + g, ${extent / 4 - 1}u);`,
        ...steps.map((l) => {
          const at = `(base + q * 4u + ${l}u)`;
          return `let s${l} = select(T(0), ${read(`start_${name} + min(${at}, ${inner - 1}u) * ${pitch}u + own`)}, ${at} < ${inner}u);`;
        }),
      ]
    : [
        `let q = local % ${DEPTH / 4}u;`,
        `let g = local / ${DEPTH / 4}u;`,
        "let at = base / 4u + q;",
        `let within = min(at, ${inner / 4 - 1}u);`,
        ...steps.map((l) => {
          const row = `min((${first} + g) * 4u + ${l}u, ${extent - 1}u)`;
          return `let t${l} = select(T(0), ${read(`start_${name} + ${row} * ${pitch}u + within`)}, at < ${inner / 4}u);`;
        }),
        ...LANES.map((lane, l) => `let s${l} = T(t0.${lane}, t1.${lane}, t2.${lane}, t3.${lane});`),
      ];
  return `if (local < ${blocks}u) {
${[...lines, ...steps.map((l) => `staged_${name}[(q * 4u + ${l}u) * ${groups}u + g] = s${l};`)].join("\n")}
}`;
}

/** Of width 4 only. */
export function writeStaged(
  product: Product,
  { threads }: Tuning,
  { a, b, pitchA, pitchB, before, sumsRows }: Operands,
): ProductText {
  const { rows, columns, inner, batch, transA, transB } = product;
  const workgroupSize = SIDE * SIDE;
  const groupsOf = ([down, right]: readonly [number, number]): [number, number] => [
    Math.ceil(rows / (4 * SIDE * down)),
    Math.ceil(columns / (4 * SIDE * right)),
  ];
  const [height, width] =
    TILES.find((tile) => {
      const [y, x] = groupsOf(tile);
      return batch * y * x * workgroupSize >= threads;
    }) ?? TILES[TILES.length - 1];
  const [groupsY, groupsX] = groupsOf([height, width]);
  const [rowGroups, columnGroups] = [SIDE * height, SIDE * width];
  const [down, right] = [range(height), range(width)];
  const summed = sumsRows ? down : [];
  const lastColumn = columns / 4 - 1;
  const cells = down.flatMap((i) => LANES.flatMap((_, lane) => right.map((j) => `c${i * 4 + lane}_${j}`)));
  const block = batch > 1 ? "block" : "group";
  const code = `let batch = ${batch > 1 ? `group / ${groupsX * groupsY}u` : "0u"};
${batch > 1 ? `let block = group % ${groupsX * groupsY}u;` : ""}
let top = (${block} / ${groupsX}u) * ${rowGroups}u;
let left = (${block} % ${groupsX}u) * ${columnGroups}u;
${before.join("\n")}
let x = local % ${SIDE}u;
let y = local / ${SIDE}u;
${[...cells, ...summed.map((i) => `s${i}`)].map((name) => `var ${name} = T(0);`).join("\n")}
for (var base = 0u; base < ${inner}u; base += ${DEPTH}u) {
${stage({ name: "a", read: a, pitch: pitchA, groups: rowGroups, first: "top", extent: rows, direct: transA }, inner)}
${stage({ name: "b", read: b, pitch: pitchB, groups: columnGroups, first: "left", extent: columns, direct: !transB }, inner)}
workgroupBarrier();
for (var k = 0u; k < ${DEPTH}u; k++) {
${down.map((i) => `let a${i} = staged_a[k * ${rowGroups}u + y + ${i * SIDE}u];`).join("\n")}
${right.map((j) => `let b${j} = staged_b[k * ${columnGroups}u + x + ${j * SIDE}u];`).join("\n")}
${down.flatMap((i) => LANES.flatMap((lane, l) => right.map((j) => `c${i * 4 + l}_${j} += a${i}.${lane} * b${j};`))).join("\n")}
${summed.map((i) => `s${i} += a${i};`).join("\n")}
}
workgroupBarrier();
}
var tile = array<T, ${cells.length}>(${cells.join(", ")});
for (var e = 0u; e < ${cells.length}u; e++) {
let i = e / ${width}u;
let row = (top + y + (i / 4u) * ${SIDE}u) * 4u + i % 4u;
let column = left + x + (e % ${width}u) * ${SIDE}u;
if (row < ${rows}u && column <= ${lastColumn}u) { finish(batch, row, column * 4u, tile[e]); }
}
${finishRows(
  "left + x == 0u",
  summed.map((i) => ({ name: `s${i}`, row: `(top + y + ${i * SIDE}u) * 4u` })),
  product,
)}`;
  return {
    globals: `var<workgroup> staged_a: array<T, ${DEPTH * rowGroups}>;\nvar<workgroup> staged_b: array<T, ${DEPTH * columnGroups}>;`,
    code,
    workgroups: batch * groupsX * groupsY,
    workgroupSize,
  };
}
