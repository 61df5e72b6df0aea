/**
 * The three forms of kernels, as WGSL text. Each runs over the coordinates d0, d1, … of its axes longer than 1 and writes
 * what its draft says:
 *
 *   product  a matrix product or a convolution; what is written is a function of its elements
 *   reduce   one thread (or one workgroup) owns one row and folds along it, in as many passes as folds depend on folds
 *   map      element by element
 */

import { sizeOf } from "../../../shared/graph/tensor.ts";
import { convolutionWork, type Operand, outputSizes, writeConvolution } from "./convolution.ts";
import { type Coordinate, Misfit, reshapeCoordinates, split } from "./coordinates.ts";
import { type BufferPlace, Expressions, type Resolve, type Width } from "./expressions.ts";
import { coordinatesThrough, inMemory, rowsIn } from "./memory-order.ts";
import { allowsWidth4, type Read, writeProduct } from "./product.ts";
import { productWork, type Tuning } from "./tuning.ts";
import type { ConvolutionValue, Fold, ProductValue, ReduceValue, Shape, Value } from "./values.ts";

export interface Axis {
  readonly size: number;
  readonly reduced: boolean;
}

/** A kernel while it is being put together. */
export class Draft {
  readonly kind: "product" | "reduce" | "map";
  /** Position in the program. */
  readonly index: number;
  readonly axes: readonly Axis[];
  product: ProductValue | ConvolutionValue | null = null;
  /** Sums of the rows of the product's A, which its kernel reads anyway: a bias's gradient beside its weight's. */
  rowSums: ReduceValue | null = null;
  readonly reductions: ReduceValue[] = [];
  /** Values that are computed element by element, of the whole domain or, in `reduce`, of one element a row. */
  readonly outputs: Value[] = [];

  constructor(kind: Draft["kind"], index: number, axes: readonly Axis[]) {
    this.kind = kind;
    this.index = index;
    this.axes = axes;
  }

  /**
   * Coordinates of a value of this kernel's domain, or of its rows; null if it has another size. Throws Misfit if four lanes
   * do not lie in one row of it.
   */
  coordinates(shape: Shape, rowsOnly: boolean, width: Width = 1): Coordinate[] | null {
    const all = this.axes.map(({ size, reduced }, index) => ({
      size,
      reduced,
      at: { text: `d${index}`, lanes: width === 4 && index === this.axes.length - 1 },
    }));
    const own = rowsOnly ? all.filter(({ reduced }) => !reduced) : all;
    const sizes = own.map(({ size }) => size);
    if (sizeOf(sizes) !== sizeOf(shape)) return null;
    return reshapeCoordinates(
      own.map(({ at }) => at),
      sizes,
      shape,
    );
  }

  /** Coordinates at which an output is computed, and whether it has one element a row. */
  outputCoordinates(value: Value, width: Width = 1): { at: readonly Coordinate[]; perRow: boolean } | null {
    const { shape } = value;
    if (this.product !== null) {
      const own = this.coordinates(this.product.shape, false, width);
      const through = own === null ? null : coordinatesThrough(value, this.product, own);
      if (through !== null) return { at: through, perRow: false };
    }
    const whole = this.coordinates(shape, false, width);
    if (whole !== null) return { at: whole, perRow: false };
    const row = this.kind === "reduce" ? this.coordinates(shape, true) : null;
    return row === null ? null : { at: row, perRow: true };
  }
}

/** What a kernel's text depends on besides its draft. */
export interface Surroundings {
  readonly tuning: Tuning;
  resolve(draft: Draft): Resolve;
  /** Reductions of the same kernel that a value depends on. */
  dependencies(draft: Draft, value: Value): ReadonlySet<Value>;
  /** Place of a value of which all or, with `as`, a part is an operand. */
  matrix(draft: Draft, value: Value, as: Value): BufferPlace;
  /** Statements that write a value. Throws Misfit. */
  store(draft: Draft, value: Value, text: string, coordinates: readonly Coordinate[], width: Width): string[];
}

export interface KernelText {
  readonly body: string;
  readonly width: Width;
  readonly workgroups: number;
  readonly workgroupSize: number;
  /** What the shader asks of the device, before all else. */
  readonly directives?: string;
  /** Floating-point operations, roughly. */
  readonly work: number;
  /** Turns of the loops that one thread runs through, however many threads there are. */
  readonly turns: number;
}

const WORKGROUP = 64;

/** A workgroup shares a row of at least this length if there are too few rows to keep the adapter busy. */
const SHARED_ROW = 64;

/** The variable that holds a product's element or a reduction. Numbered by kernel, so that kernels alike have the same text. */
export const variableOf = ({ reductions }: Draft, value: Value): string =>
  value.kind === "reduce" ? `r${reductions.indexOf(value)}` : "x";

/** A WGSL function, with the places that it names as its own constants: then they are loaded once, and not in its loops. */
function functionText(head: string, code: string): string {
  const places = new Set(code.match(/\bplace\d+\b/g));
  const constants = [...places].map((name) => `let ${name} = ${placeText(name)};`);
  return `${head} {\n${[...constants, code].join("\n")}\n}`;
}

/** Place `n` of a kernel: word n of its uniforms (program.ts). */
function placeText(name: string): string {
  const number = Number(name.slice("place".length));
  return `places[${number >> 2}].${"xyzw"[number & 3]}`;
}

/** Defines d0, d1, … from an index over the axes chosen. */
function coordinatesFrom(index: string, axes: readonly Axis[], chosen: (axis: Axis) => boolean): string {
  const picked = axes.flatMap((axis, number) => (chosen(axis) ? [{ size: axis.size, name: `d${number}` }] : []));
  const texts = split(
    { text: index, lanes: false },
    picked.map(({ size }) => size),
  );
  return picked.map(({ name }, at) => `let ${name} = ${texts[at].text};`).join("\n");
}

const sizeOfAxes = (axes: readonly Axis[], reduced?: boolean): number =>
  sizeOf(axes.filter((axis) => reduced === undefined || axis.reduced === reduced).map(({ size }) => size));

/** Tries four elements at a time, then one. */
function widest(write: (width: Width) => KernelText): KernelText {
  try {
    return write(4);
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    return write(1);
  }
}

function writeOutputs(draft: Draft, width: Width, around: Surroundings): string[] {
  const expressions = new Expressions(width, around.resolve(draft));
  const stores: string[] = [];
  for (const value of draft.outputs) {
    const found = draft.outputCoordinates(value, width);
    if (found === null) throw new Misfit();
    stores.push(...around.store(draft, value, expressions.at(value, found.at), found.at, width));
  }
  return [...expressions.lines, ...stores];
}

function productText(draft: Draft, value: ProductValue, around: Surroundings): KernelText {
  const { product, tuning } = value;
  const { rows, columns, batch } = product;
  const own = [rows, columns].filter((size) => size > 1).length;
  const stack = draft.axes.length - own;
  const names = [
    coordinatesFrom("batch", draft.axes.slice(0, stack), () => true),
    ...(rows > 1 ? [`let d${stack} = row;`] : []),
    ...(columns > 1 ? [`let d${stack + own - 1} = column;`] : []),
  ];
  /** How an operand is read, and where it starts in the kernel's memory. */
  const isWide = allowsWidth4(product);
  const lead = value.shape.slice(0, -2);
  const reader = (name: string, operand: Value, width: Width): { start: string; read: Read; pitch: number } => {
    const { base, shift, strides } = rowsIn(operand, isWide);
    const { buffer, offset } = around.matrix(draft, base, operand);
    // One matrix may go with the whole stack; else the leading axes are the product's.
    const stack = strides.slice(0, -2);
    const own = lead.slice(lead.length - stack.length);
    const at = batch > 1 && sizeOf(operand.shape.slice(0, -2)) > 1 ? split({ text: "batch", lanes: false }, own) : [];
    const terms = at.flatMap(({ text }, axis) => (own[axis] === 1 ? [] : [` + ${text} * ${stack[axis]}u`]));
    const start = `${offset}${shift === 0 ? "" : ` + ${shift}u`}${terms.join("")}`;
    const read: Read = (index) => {
      const word = `${buffer}[${index}]`;
      return buffer === "input" ? `bitcast<T>(${word})` : word;
    };
    return {
      start: `let start_${name} = ${width === 4 ? `(${start}) / 4u` : start};`,
      read,
      pitch: strides[strides.length - 2] / width,
    };
  };
  return widest((width) => {
    if (width === 4 && !isWide) throw new Misfit();
    const at = draft.coordinates(value.shape, false, width);
    if (at === null) throw new Misfit();
    const lines = [...names, ...around.store(draft, value, "x", at, width), ...writeOutputs(draft, width, around)];
    const { rowSums } = draft;
    const [a, b] = [reader("a", value.a, width), reader("b", value.b, width)];
    const text = writeProduct(product, width, tuning, {
      a: a.read,
      b: b.read,
      pitchA: a.pitch,
      pitchB: b.pitch,
      before: [a.start, b.start],
      sumsRows: rowSums !== null,
    });
    const rowStores =
      rowSums === null
        ? []
        : around.store(
            draft,
            rowSums,
            "x",
            reshapeCoordinates([{ text: "row", lanes: width === 4 }], [rows], rowSums.shape),
            width,
          );
    return {
      body: [
        text.globals,
        functionText("fn finish(batch: u32, row: u32, column: u32, x: T)", lines.join("\n")),
        ...(rowSums === null ? [] : [functionText("fn finish_rows(row: u32, x: T)", rowStores.join("\n"))]),
        main(text.workgroupSize, text.workgroups, text.code),
      ].join("\n"),
      width,
      workgroups: text.workgroups,
      workgroupSize: text.workgroupSize,
      work: productWork(product),
      turns: product.inner / width,
    };
  });
}

function convolutionText(draft: Draft, value: ConvolutionValue, around: Surroundings): KernelText {
  const { form, swapped } = value;
  const operand = (given: Value): Operand => {
    const { base, strides } = inMemory(given);
    const { buffer, offset } = around.matrix(draft, base, base);
    const read = (index: string): string => {
      const word = `${buffer}[${index}]`;
      return buffer === "input" ? `bitcast<T>(${word})` : word;
    };
    return { start: offset, strides, read };
  };
  const sizes = outputSizes(form);
  const places = [
    ...(form.parts > 1 ? ["part"] : []),
    ...(swapped ? ["m", "n"] : ["n", "m"]),
    ...sizes.map((_, axis) => `o${axis}`),
  ];
  const long = places.filter((_, axis) => value.shape[axis] > 1);
  const at = draft.coordinates(value.shape, false);
  if (at === null) throw new Misfit();
  const lines = [
    ...long.map((name, axis) => `let d${axis} = ${name};`),
    ...around.store(draft, value, "x", at, 1),
    ...writeOutputs(draft, 1, around),
  ];
  const text = writeConvolution(form, around.tuning, operand(value.input), operand(value.weights));
  const parameters = ["part", "n", "m", ...sizes.map((_, axis) => `o${axis}`)].map((name) => `${name}: u32`);
  return {
    body: `${functionText(`fn finish(${parameters.join(", ")}, x: T)`, lines.join("\n"))}\n${main(text.workgroupSize, text.workgroups, text.code)}`,
    width: 1,
    workgroups: text.workgroups,
    workgroupSize: text.workgroupSize,
    work: convolutionWork(form),
    turns: (form.channels / form.parts) * sizeOf(form.windows.kernel),
  };
}

function mapText(draft: Draft, around: Surroundings): KernelText {
  const size = sizeOfAxes(draft.axes);
  return widest((width) => {
    const last = draft.axes.at(-1);
    if (width === 4 && (last === undefined || last.size % 4 !== 0)) throw new Misfit();
    const count = size / width;
    const code = [
      `let index = (group * ${WORKGROUP}u + local)${width === 4 ? " * 4u" : ""};`,
      `if (index >= ${size}u) { return; }`,
      coordinatesFrom("index", draft.axes, () => true),
      ...writeOutputs(draft, width, around),
    ];
    const workgroups = Math.ceil(count / WORKGROUP);
    return {
      body: main(WORKGROUP, workgroups, code.join("\n")),
      width,
      workgroups,
      workgroupSize: WORKGROUP,
      work: size * 8 * draft.outputs.length,
      turns: 1,
    };
  });
}

interface FoldText {
  readonly initial: string;
  readonly combine: (a: string, b: string) => string;
  /** Of one number of each thread of a subgroup. */
  readonly subgroup: (value: string) => string;
}

const FOLDS: { readonly [F in Fold]: FoldText } = {
  sum: { initial: "0f", combine: (a, b) => `${a} + ${b}`, subgroup: (x) => `subgroupAdd(${x})` },
  max: {
    initial: "-3.4028234663852886e38f",
    combine: (a, b) => `largest(${a}, ${b})`,
    // With a NaN among them the sum is one, too; what it would be the largest of is left open.
    subgroup: (x) =>
      `select(subgroupMax(${x}), subgroupAdd(${x}), subgroupAny((bitcast<u32>(${x}) & 0x7fffffffu) > 0x7f800000u))`,
  },
  min: {
    initial: "3.4028234663852886e38f",
    combine: (a, b) => `min(${a}, ${b})`,
    subgroup: (x) => `subgroupMin(${x})`,
  },
};

/** How a workgroup folds one number of each of its threads, so that all of them get the result. */
interface Together {
  readonly directives: string;
  /** Of the entry point and of the functions, beside the thread's number. */
  readonly builtins: readonly string[];
  readonly write: (fold: Fold) => string;
}

/** Among all of them, by halves: eight barriers. */
const BY_HALVES: Together = {
  directives: "",
  builtins: [],
  write: (fold) => `fn together_${fold}(value: f32, local: u32) -> f32 {
  partial[local] = value;
  workgroupBarrier();
  for (var half = ${WORKGROUP / 2}u; half > 0u; half /= 2u) {
    if (local < half) { partial[local] = ${FOLDS[fold].combine("partial[local]", "partial[local + half]")}; }
    workgroupBarrier();
  }
  let result = partial[0];
  workgroupBarrier();
  return result;
}`,
};

const SUBGROUP = ["subgroup_id", "num_subgroups"] as const;

/** Each subgroup without memory, then what the subgroups came to: two barriers. */
const BY_SUBGROUPS: Together = {
  directives: "enable subgroups;\nrequires subgroup_id;\n",
  builtins: SUBGROUP,
  write: (
    fold,
  ) => `fn together_${fold}(value: f32, local: u32, ${SUBGROUP.map((name) => `${name}: u32`).join(", ")}) -> f32 {
  let folded = ${FOLDS[fold].subgroup("value")};
  if (subgroupElect()) { partial[subgroup_id] = folded; }
  workgroupBarrier();
  var result = partial[0];
  for (var other = 1u; other < num_subgroups; other++) { result = ${FOLDS[fold].combine("result", "partial[other]")}; }
  workgroupBarrier();
  return result;
}`,
};

/** Reductions by pass: each comes after those that its operand depends on. */
function passesOf(draft: Draft, around: Surroundings): ReduceValue[][] {
  const passes: ReduceValue[][] = [];
  const level = new Map<Value, number>();
  for (const value of draft.reductions) {
    const before = [...around.dependencies(draft, value.input)].map((other) => level.get(other) ?? 0);
    const at = Math.max(-1, ...before) + 1;
    level.set(value, at);
    passes[at] = [...(passes[at] ?? []), value];
  }
  return passes;
}

function reduceText(draft: Draft, around: Surroundings): KernelText {
  const rows = sizeOfAxes(draft.axes, false);
  const length = sizeOfAxes(draft.axes, true);
  const shared = length >= SHARED_ROW && rows < around.tuning.threads;
  const stride = shared ? WORKGROUP : 1;
  const { directives, builtins, write } = around.tuning.subgroups ? BY_SUBGROUPS : BY_HALVES;
  const code = [
    shared ? "let index = group;" : `let index = group * ${WORKGROUP}u + local;`,
    `if (index >= ${rows}u) { return; }`,
    coordinatesFrom("index", draft.axes, ({ reduced }) => !reduced),
  ];
  const loop = (lines: readonly string[]): string =>
    `for (var c = ${shared ? "local" : "0u"}; c < ${length}u; c += ${stride}u) {
${coordinatesFrom("c", draft.axes, ({ reduced }) => reduced)}
${lines.join("\n")}
}`;
  const folds = new Set<Fold>();
  const passes = passesOf(draft, around);
  for (const pass of passes) {
    const expressions = new Expressions(1, around.resolve(draft));
    const updates: string[] = [];
    for (const value of pass) {
      const at = draft.coordinates(value.input.shape, false);
      if (at === null) throw new Misfit();
      const { initial, combine } = FOLDS[value.fold];
      const name = variableOf(draft, value);
      code.push(`var ${name} = ${initial};`);
      updates.push(`${name} = ${combine(name, expressions.at(value.input, at))};`);
      folds.add(value.fold);
    }
    code.push(loop([...expressions.lines, ...updates]));
    if (shared)
      for (const value of pass)
        code.push(
          `${variableOf(draft, value)} = together_${value.fold}(${[variableOf(draft, value), "local", ...builtins].join(", ")});`,
        );
  }

  const whole = new Expressions(1, around.resolve(draft));
  const row = new Expressions(1, around.resolve(draft), "w");
  const wholeStores: string[] = [];
  const rowStores: string[] = [];
  for (const value of draft.reductions) {
    const at = draft.coordinates(value.shape, true);
    if (at === null) throw new Misfit();
    rowStores.push(...around.store(draft, value, variableOf(draft, value), at, 1));
  }
  for (const value of draft.outputs) {
    const found = draft.outputCoordinates(value);
    if (found === null) throw new Misfit();
    const [expressions, stores] = found.perRow ? [row, rowStores] : [whole, wholeStores];
    stores.push(...around.store(draft, value, expressions.at(value, found.at), found.at, 1));
  }
  if (wholeStores.length > 0) code.push(loop([...whole.lines, ...wholeStores]));
  if (shared) code.push("if (local > 0u) { return; }");
  code.push(...row.lines, ...rowStores);

  const workgroups = shared ? rows : Math.ceil(rows / WORKGROUP);
  const helpers = shared
    ? [`var<workgroup> partial: array<f32, ${WORKGROUP}>;`, ...[...folds].map(write)].join("\n")
    : "";
  return {
    body: `${helpers}\n${main(WORKGROUP, workgroups, code.join("\n"), shared ? builtins : [])}`,
    directives: shared ? directives : "",
    width: 1,
    workgroups,
    workgroupSize: WORKGROUP,
    work: rows * length * 8 * (draft.reductions.length + draft.outputs.length),
    turns: (length / stride) * (passes.length + (wholeStores.length > 0 ? 1 : 0)),
  };
}

/** At most this many workgroups along one dimension of a dispatch: WebGPU's limit. */
export const MAX_WORKGROUPS = 65_535;

/** The entry point: `group` numbers the workgroups along both dimensions of the dispatch, `local` a workgroup's threads. */
const main = (workgroupSize: number, workgroups: number, code: string, builtins: readonly string[] = []): string =>
  functionText(
    `@compute @workgroup_size(${workgroupSize})
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) id: vec3u${builtins.map((name) => `, @builtin(${name}) ${name}: u32`).join("")})`,
    `let group = id.x + id.y * ${MAX_WORKGROUPS}u;
if (group >= ${workgroups}u) { return; }
${code}`,
  );

export function writeKernel(draft: Draft, around: Surroundings): KernelText {
  if (draft.kind === "product" && draft.product !== null) {
    return draft.product.kind === "product"
      ? productText(draft, draft.product, around)
      : convolutionText(draft, draft.product, around);
  }
  return draft.kind === "reduce" ? reduceText(draft, around) : mapText(draft, around);
}
