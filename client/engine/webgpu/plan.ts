/**
 * Turns a graph into a static program: which kernels run in which order, what each computes, and where values live.
 *
 * Every product and every reduction needs a kernel. All other values are expressions, computed wherever they are read,
 * unless they must be in memory (operands of products, values to keep, long expressions); those are computed by the latest
 * kernel that they depend on, if it runs over the same domain, and else by one of their own. Reductions over the same axes
 * of the same domain share a kernel. Gradients are rounded into the integer sum by the kernel that computes them and are
 * never stored.
 */

import { BLOCK } from "../../../shared/codec/exponents.ts";
import type { Graph, ValueId } from "../../../shared/graph/ir.ts";
import { inferShapes } from "../../../shared/graph/shapes.ts";
import { sizeOf } from "../../../shared/graph/tensor.ts";
import { EngineError } from "../engine.ts";
import { arrange } from "./arena.ts";
import { address, type Coordinate, Misfit, sameCoordinates } from "./coordinates.ts";
import { type BufferPlace, Expressions, type Resolve, type Width } from "./expressions.ts";
import { functionsFor } from "./functions.wgsl.ts";
import { type Axis, Draft, MAX_WORKGROUPS, type Surroundings, variableOf, writeKernel } from "./kernels.ts";
import { HEADER, keyWord, type Layout } from "./layout.ts";
import { inMemory, rowsIn, stripped } from "./memory-order.ts";
import { lowerOf } from "./ops.ts";
import { allowsWidth4, canSumRows } from "./product.ts";
import type { Product, Tuning } from "./tuning.ts";
import {
  type ConvolutionValue,
  Lowering,
  operandsOf,
  type ProductValue,
  type ReduceValue,
  type StoredValue,
  type Value,
} from "./values.ts";

/** What is done with a value besides what other values need it for. */
export type Sink =
  /** Rounded and added to the integer sum; `offset` in the flat parameter space. */
  | { readonly kind: "gradient"; readonly offset: number }
  /** The micro-batch's scalars from this number on, as many as the value has elements. */
  | { readonly kind: "scalar"; readonly index: number }
  /** Stays in the arena until the program ends. */
  | { readonly kind: "keep" };

export interface Kernel {
  /** Kernels that differ in where their values are, and in nothing else, have the same text. */
  readonly code: string;
  /** Offsets in words that the code knows as `place0`, `place1`, …: its uniforms. */
  readonly places: readonly number[];
  readonly workgroups: readonly [number, number];
  /** Floating-point operations, roughly. */
  readonly work: number;
  /**
   * Bytes of the values it reads and writes, each once: what it moves however well it caches, for the first micro-batch of a
   * shard. The others read the sums that they are added to besides: `summedBytes`.
   */
  readonly bytes: number;
  readonly summedBytes: number;
}

export interface Plan {
  readonly kernels: readonly Kernel[];
  readonly arenaWords: number;
  /** Where each kept value is, in floats. */
  readonly kept: ReadonlyMap<ValueId, { readonly offset: number; readonly length: number }>;
}

const WORD = 4;

/** A dispatch can be neither cut nor interrupted: one may have as many operations as a whole micro-batch by the client's usual budget. */
const MOST_WORK = 5e10;
/**
 * A long loop is as slow with few threads as with many. On 4,096 threads so many are 8 million turns
 * of one: some tenths of a second where nothing hides the memory's latency. A weight's gradient over 150 images of 224 × 224 is below it.
 */
const MOST_TURNS = 2 ** 35;

/** Longer expressions are computed once and stored. */
const LONGEST_EXPRESSION = 64;

/** How many kernels back a value may join one that it does not depend on. */
const LOOK_BACK = 8;

const sameAxes = (a: readonly Axis[], b: readonly Axis[]): boolean =>
  a.length === b.length &&
  a.every(({ size, reduced }, index) => size === b[index].size && reduced === b[index].reduced);

const axesOf = (shape: readonly number[], reduced: readonly number[] = []): Axis[] =>
  shape.flatMap((size, axis) => (size === 1 ? [] : [{ size, reduced: reduced.includes(axis) }]));

/** With neighbours that are reduced alike as one: reductions over the same of these can share a kernel. */
function merged(axes: readonly Axis[]): Axis[] {
  const result: Axis[] = [];
  for (const { size, reduced } of axes) {
    const last = result.at(-1);
    if (last?.reduced === reduced) result[result.length - 1] = { size: last.size * size, reduced };
    else result.push({ size, reduced });
  }
  return result;
}

class Planner implements Surroundings {
  readonly tuning: Tuning;
  readonly drafts: Draft[] = [];
  readonly #layout: Layout;
  readonly #exact: ReadonlySet<Value>;
  readonly #sinks: ReadonlyMap<Value, readonly Sink[]>;
  /** The kernel that computes a value. */
  readonly #homes = new Map<Value, Draft>();
  /** Last kernel that reads a value of another one. */
  readonly #lastReads = new Map<Value, number>();
  /** What each kernel reads from memory, and as which values: slices of one may be all that is needed. */
  readonly #reads = new Map<Draft, Map<Value, Set<Value>>>();
  /** The places that each kernel names, by what they are the places of. */
  readonly #places = new Map<Draft, Map<string, number>>();
  /** Where values are in the arena; null while the program is only tried out. */
  #offsets: ReadonlyMap<Value, number> | null = null;

  constructor(layout: Layout, tuning: Tuning, exact: ReadonlySet<Value>, sinks: ReadonlyMap<Value, readonly Sink[]>) {
    this.#layout = layout;
    this.tuning = tuning;
    this.#exact = exact;
    this.#sinks = sinks;
  }

  /** Puts every value that needs it into a kernel, operands first. */
  place(values: readonly Value[]): void {
    const required = new Set<Value>([...this.#sinks.keys(), ...[...this.#exact].map(stripped)]);
    const needed = new Set<Value>(this.#sinks.keys());
    for (const value of values.toReversed()) {
      if (!needed.has(value)) continue;
      for (const operand of operandsOf(value)) {
        needed.add(operand);
        if (value.kind === "product") required.add(rowsIn(operand, allowsWidth4(value.product)).base);
        if (value.kind === "convolution") required.add(stripped(inMemory(operand).base));
        if (value.kind === "rows" && operand === value.table) required.add(operand);
      }
    }
    const wished = this.#ends(values, needed, required);
    const length = new Map<Value, number>();
    for (const value of values) {
      if (!needed.has(value) || value.kind === "stored") continue;
      if (value.kind === "product" || value.kind === "convolution") this.#placeProduct(value);
      else if (value.kind === "reduce") this.#placeReduce(value);
      else {
        const total = operandsOf(value).reduce((sum, operand) => sum + (length.get(operand) ?? 1), 1);
        length.set(value, total);
        if (required.has(value) || (total > LONGEST_EXPRESSION && stripped(value) === value)) this.#placeOutput(value);
        else if (!wished.has(value) || !this.#joinProduct(value)) continue;
        length.set(value, 1);
      }
    }
  }

  /**
   * What a product leads to element by element before anything else is made of it: where the product's kernel computes that,
   * it is stored in the product's place, and whoever reads it need not read what else it is made of.
   */
  #ends(values: readonly Value[], needed: ReadonlySet<Value>, required: ReadonlySet<Value>): Set<Value> {
    const consumers = new Map<Value, Value[]>();
    for (const value of values) {
      if (!needed.has(value)) continue;
      for (const operand of operandsOf(value)) consumers.set(operand, [...(consumers.get(operand) ?? []), value]);
    }
    const ends = new Set<Value>();
    for (const product of values) {
      if (!needed.has(product) || (product.kind !== "product" && product.kind !== "convolution")) continue;
      let end: Value | null = null;
      for (let at: Value = product; !required.has(at); ) {
        const [only, ...others]: readonly Value[] = consumers.get(at) ?? [];
        if (only === undefined || others.length > 0 || sizeOf(only.shape) !== sizeOf(product.shape)) break;
        if (only.kind !== "map" && !(only.kind === "view" && only.linear)) break;
        if (only.kind === "map") end = only;
        at = only;
      }
      if (end !== null) ends.add(end);
    }
    return ends;
  }

  /** Whether the latest kernel that a value depends on is that of a product, and computes it. */
  #joinProduct(value: Value): boolean {
    const draft = this.drafts[this.#latestHome(value)];
    if (draft?.kind !== "product" || !this.#fits(draft, value)) return false;
    draft.outputs.push(value);
    this.#homes.set(value, draft);
    return true;
  }

  #add(kind: Draft["kind"], axes: readonly Axis[]): Draft {
    const draft = new Draft(kind, this.drafts.length, axes);
    this.drafts.push(draft);
    return draft;
  }

  #placeProduct(value: ProductValue | ConvolutionValue): void {
    const draft = this.#add("product", axesOf(value.shape));
    draft.product = value;
    this.#homes.set(value, draft);
  }

  #placeReduce(value: ReduceValue): void {
    const axes = axesOf(value.input.shape, value.axes);
    const beside = value.fold === "sum" ? this.#productSumming(value, axes) : undefined;
    if (beside !== undefined) {
      beside.rowSums = value;
      this.#homes.set(value, beside);
      return;
    }
    const fits = (draft: Draft): boolean => {
      if (draft.kind !== "reduce" || !sameAxes(merged(draft.axes), merged(axes))) return false;
      const touched = this.#try(draft, value.input, draft.coordinates(value.input.shape, false));
      // Each pass computes its operands anew: those that have to be exact must come from memory.
      return touched !== null && ![...touched].some((other) => other.kind !== "reduce" && this.#exact.has(other));
    };
    const draft = this.#candidates(value.input).find(fits) ?? this.#add("reduce", axes);
    draft.reductions.push(value);
    this.#homes.set(value, draft);
  }

  /** A kernel whose product reads, by columns, what is to be summed along them. */
  #productSumming(value: ReduceValue, axes: readonly Axis[]): Draft | undefined {
    const summed = stripped(value.input);
    return this.drafts.find(({ product, rowSums }) => {
      if (product?.kind !== "product" || rowSums !== null || !canSumRows(product.product)) return false;
      const { rows, inner } = product.product;
      const columns = [
        { size: inner, reduced: true },
        { size: rows, reduced: false },
      ];
      return stripped(product.a) === summed && sameAxes(merged(axes), columns);
    });
  }

  #placeOutput(value: Value): void {
    const candidates = this.#candidates(value);
    const latest = this.#latestHome(value);
    const fits = (draft: Draft): boolean =>
      (draft.index === latest || draft.kind !== "product") && this.#fits(draft, value);
    const draft = candidates.find(fits) ?? this.#add("map", axesOf(value.shape));
    draft.outputs.push(value);
    this.#homes.set(value, draft);
  }

  /** Whether a kernel can compute a value. A product's must not become narrower for it. */
  #fits(draft: Draft, value: Value): boolean {
    const isWide = draft.product?.kind === "product" && allowsWidth4(draft.product.product);
    const hasScalars = (this.#sinks.get(value) ?? []).some(({ kind }) => kind === "scalar");
    if (isWide && hasScalars) return false;
    const width = isWide ? 4 : 1;
    try {
      const at = draft.outputCoordinates(value, width)?.at ?? null;
      if (at === null || (width === 4 && address(at, value.shape).laneStride !== 1)) return false;
      return this.#try(draft, value, at, width) !== null;
    } catch (error) {
      if (error instanceof Misfit) return false;
      throw error;
    }
  }

  /** The kernels that may compute a value, all its operands being available: the latest that it depends on first. */
  #candidates(value: Value): Draft[] {
    const latest = this.#latestHome(value);
    const recent = Math.max(latest + 1, this.drafts.length - LOOK_BACK);
    return [...(latest < 0 ? [] : [this.drafts[latest]]), ...this.drafts.slice(recent)];
  }

  /** Position of the last kernel that computes something the value is an expression of; −1: there is none. */
  #latestHome(value: Value): number {
    let latest = -1;
    const seen = new Set<Value>();
    const visit = (at: Value): void => {
      if (seen.has(at)) return;
      seen.add(at);
      const home = this.#homes.get(at);
      if (home !== undefined) latest = Math.max(latest, home.index);
      else operandsOf(at).forEach(visit);
    };
    visit(value);
    return latest;
  }

  /** What of the draft's own a value would be computed from there; null if it cannot be. */
  #try(draft: Draft, value: Value, coordinates: readonly Coordinate[] | null, width: Width = 1): Set<Value> | null {
    if (coordinates === null) return null;
    const touched = new Set<Value>();
    try {
      new Expressions(width, this.resolve(draft, touched)).at(value, coordinates);
      return touched;
    } catch (error) {
      if (error instanceof Misfit) return null;
      throw error;
    }
  }

  resolve(draft: Draft, touched?: Set<Value>): Resolve {
    return (value, coordinates) => {
      if (value.kind === "stored") return this.#readStored(draft, value);
      if (value.kind === "mask") {
        return { buffer: "input", offset: this.#place(draft, `key ${value.key}`, value.key), integer: true };
      }
      const home = this.#homes.get(value);
      if (home === undefined) return null;
      if (home !== draft) return this.#read(draft, value);
      touched?.add(value);
      const reduced = value.kind === "reduce";
      const held = reduced || value.kind === "product" || value.kind === "convolution";
      const own = held ? draft.coordinates(value.shape, reduced) : draft.outputCoordinates(value)?.at;
      if (own == null || !sameCoordinates(own, coordinates)) throw new Misfit();
      return held ? { variable: variableOf(draft, value) } : null;
    };
  }

  #read(draft: Draft, value: Value, as = value): BufferPlace {
    this.#lastReads.set(value, Math.max(this.#lastReads.get(value) ?? 0, draft.index));
    this.#noteRead(draft, value, as);
    return { buffer: "arena", offset: this.#arenaPlace(draft, value, this.#offsets?.get(value) ?? 0), integer: false };
  }

  #readStored(draft: Draft, value: StoredValue, as: Value = value): BufferPlace {
    this.#noteRead(draft, value, as);
    const { buffer, offset, integer } = value;
    return { buffer, offset: this.#place(draft, `${buffer} ${offset}`, offset), integer };
  }

  #arenaPlace(draft: Draft, value: Value, offset: number): string {
    return this.#place(draft, `value ${value.id}`, offset);
  }

  /** Name of an offset in a kernel's text. */
  #place(draft: Draft, what: string, offset: number): string {
    const places = this.#places.get(draft) ?? new Map<string, number>();
    this.#places.set(draft, places.set(what, offset));
    return `place${[...places.keys()].indexOf(what)}`;
  }

  #noteRead(draft: Draft, value: Value, as: Value): void {
    const reads = this.#reads.get(draft) ?? new Map<Value, Set<Value>>();
    this.#reads.set(draft, reads);
    reads.set(value, (reads.get(value) ?? new Set()).add(as));
  }

  dependencies(draft: Draft, value: Value): ReadonlySet<Value> {
    const touched = this.#try(draft, value, draft.coordinates(value.shape, false));
    if (touched === null) throw new Misfit();
    return new Set([...touched].filter(({ kind }) => kind === "reduce"));
  }

  matrix(draft: Draft, value: Value, as: Value): BufferPlace {
    const base = stripped(value);
    return base.kind === "stored" ? this.#readStored(draft, base, as) : this.#read(draft, base, as);
  }

  store(draft: Draft, value: Value, text: string, coordinates: readonly Coordinate[], width: Width): string[] {
    const { text: at, laneStride } = address(coordinates, value.shape);
    if (width === 4 && laneStride !== 1) throw new Misfit();
    const lines: string[] = [];
    const offset = this.#offsets?.get(value);
    if (offset !== undefined) {
      const place = this.#arenaPlace(draft, value, offset);
      lines.push(`arena[(${at} + ${place})${width === 4 ? " / 4u" : ""}] = ${text};`);
    }
    for (const sink of this.#sinks.get(value) ?? []) {
      if (sink.kind === "gradient") {
        lines.push(`accumulate(${at} + ${this.#place(draft, `sum ${sink.offset}`, sink.offset)}, ${text});`);
      }
      if (sink.kind === "scalar") {
        if (width === 4) throw new Misfit();
        const slot = `header(${HEADER.slot}u) * ${this.#layout.scalars}u`;
        const word = `${at} + ${this.#layout.scalarsAt + sink.index}u`;
        lines.push(`atomicStore(&stats[${slot} + ${word}], bitcast<u32>(${text}));`);
      }
    }
    return lines;
  }

  /** Writes every kernel: once to see what is read where, then with the arena's offsets. */
  finish(): { kernels: Kernel[]; arenaWords: number; offsets: ReadonlyMap<Value, number> } {
    this.#lastReads.clear();
    this.#reads.clear();
    for (const draft of this.drafts) writeKernel(draft, this);
    this.#places.clear();
    const isKept = (value: Value): boolean => (this.#sinks.get(value) ?? []).some(({ kind }) => kind === "keep");
    const held = [...this.#homes].filter(([value]) => this.#lastReads.has(value) || isKept(value));
    const { offsets, words } = arrange(
      held.map(([value, { index }]) => ({
        words: sizeOf(value.shape),
        from: index,
        to: isKept(value) ? this.drafts.length : (this.#lastReads.get(value) ?? index),
      })),
    );
    this.#offsets = new Map(held.map(([value], at) => [value, offsets[at]]));
    const kernels = this.drafts.map((draft): Kernel => {
      const { directives = "", body, width, workgroups, work, turns } = writeKernel(draft, this);
      requireWithin(`operations of kernel ${draft.index}`, work, MOST_WORK);
      requireWithin(`turns of a loop of kernel ${draft.index}`, turns, MOST_TURNS / this.tuning.threads);
      const { moved, summed } = this.#traffic(draft, this.#offsets ?? new Map());
      const places = [...(this.#places.get(draft)?.values() ?? [])];
      return {
        code: directives + this.#preamble(body, width, places.length),
        places,
        workgroups: splitGroups(workgroups),
        work,
        bytes: moved * WORD,
        summedBytes: summed * WORD,
      };
    });
    return { kernels, arenaWords: words, offsets: this.#offsets };
  }

  /** Words read and written, and those of sums that are added to. */
  #traffic(draft: Draft, stored: ReadonlyMap<Value, number>): { moved: number; summed: number } {
    let [moved, summed] = [0, 0];
    for (const [value, parts] of this.#reads.get(draft) ?? []) {
      const read = [...parts].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
      moved += Math.min(read, sizeOf(value.shape));
    }
    for (const [value, home] of this.#homes) {
      if (home !== draft) continue;
      const size = sizeOf(value.shape);
      if (stored.has(value)) moved += size;
      for (const { kind } of this.#sinks.get(value) ?? []) {
        if (kind !== "keep") moved += size;
        if (kind === "gradient") {
          // Each block's grid is read, and its largest magnitude is read and written.
          moved += 3 * Math.ceil(size / BLOCK);
          summed += size;
        }
      }
    }
    return { moved, summed };
  }

  #preamble(body: string, width: Width, places: number): string {
    const [t, u, i] = width === 1 ? ["f32", "u32", "i32"] : ["vec4f", "vec4u", "vec4i"];
    return `alias T = ${t};
alias U = ${u};
alias I = ${i};
const clamped_at = ${this.#layout.clampedAt}u;
@group(0) @binding(0) var<storage, read> input: array<U>;
@group(0) @binding(1) var<storage, read> weights: array<T>;
@group(0) @binding(2) var<storage, read_write> arena: array<T>;
@group(0) @binding(3) var<storage, read_write> sums: array<I>;
@group(0) @binding(4) var<storage, read_write> stats: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read> scales: array<f32>;
@group(0) @binding(6) var<uniform> places: array<vec4u, ${Math.max(1, Math.ceil(places / 4))}>;
${functionsFor(body, width)}
${body}
`;
  }
}

/** Throws EngineError `compile`. */
function requireWithin(what: string, figure: number, most: number): void {
  if (figure > most) throw new EngineError("compile", `${Math.round(figure)} ${what}, a GPU is given at most ${most}`);
}

function splitGroups(workgroups: number): [number, number] {
  const x = Math.min(workgroups, MAX_WORKGROUPS);
  return [x, Math.ceil(workgroups / x)];
}

/** A graph's values by id, in terms of what kernels are formed from. */
function lower(graph: Graph, layout: Layout, tuning: Tuning): { to: Lowering; lowered: readonly Value[] } {
  const to = new Lowering(tuning, (layer) => keyWord(layout.layers.indexOf(layer)));
  const types = inferShapes(graph, layout.microBatch);
  const lowered: Value[] = [];
  for (const [index] of graph.inputs.entries()) {
    const { offset, integer } = layout.inputs[index];
    lowered.push(to.stored("input", offset, types[index].shape, integer));
  }
  for (const { offset, shape } of graph.parameters) lowered.push(to.stored("weights", offset, shape));
  for (const { op, inputs, attributes } of graph.nodes) {
    const operands = inputs.map((id) => lowered[id]);
    lowered.push(lowerOf(op)(to, operands, attributes, types[lowered.length]));
  }
  return { to, lowered };
}

/** The matrix products of a graph. */
export const productsOf = (graph: Graph, layout: Layout, tuning: Tuning): Product[] =>
  lower(graph, layout, tuning).to.values.flatMap((value) => (value.kind === "product" ? [value.product] : []));

/** Plans the program that gives the values asked for; what they do not need is left out. */
export function planProgram(
  graph: Graph,
  layout: Layout,
  tuning: Tuning,
  wanted: readonly (readonly [ValueId, Sink])[],
): Plan {
  const { to, lowered } = lower(graph, layout, tuning);
  const sinks = new Map<Value, Sink[]>();
  const bases = new Map<ValueId, Value>();
  for (const [id, sink] of wanted) {
    let base = stripped(lowered[id]);
    // What is only read, such as an input that is also the prediction, is copied.
    if (base.kind === "stored") base = to.map("copy", base.shape, [base], (value) => value);
    bases.set(id, base);
    sinks.set(base, [...(sinks.get(base) ?? []), sink]);
  }

  const planner = new Planner(layout, tuning, to.exact, sinks);
  planner.place(to.values);
  const { kernels, arenaWords, offsets } = planner.finish();
  const kept = new Map<ValueId, { offset: number; length: number }>();
  for (const [id, { kind }] of wanted) {
    const base = bases.get(id);
    const offset = base === undefined ? undefined : offsets.get(base);
    if (kind === "keep" && base !== undefined && offset !== undefined) {
      kept.set(id, { offset, length: sizeOf(base.shape) });
    }
  }
  return { kernels, arenaWords, kept };
}
