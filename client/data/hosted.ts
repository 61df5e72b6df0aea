/**
 * Samples of a hosted data set. Which ones follows from (seed, epoch, position) alone (invariant I2), so that every
 * client that is given a range of micro-batches sees the same samples.
 */

import type { Graph } from "../../shared/graph/ir.ts";
import { epochKey, Permutation } from "../../shared/random/index.ts";
import type { DatasetManifest } from "../../shared/session/dataset.ts";
import { chunkLayout } from "../../shared/session/dataset.ts";
import type { HostedData } from "../../shared/session/definition.ts";
import { samplesOfChunk } from "../../shared/session/manifest.ts";
import type { RunPlan, Work } from "../../shared/session/plan.ts";
import { epochOf, workSamples } from "../../shared/session/plan.ts";
import type { RowWindow } from "../../shared/session/window.ts";
import { reachOf, windowOf } from "../../shared/session/window.ts";
import type { Input, Tensor } from "../engine/engine.ts";
import type { Augmenter } from "./augment.ts";
import type { ChunkRequest, ChunkStore } from "./chunks.ts";
import type { Bindings, BoundInput, DataSource, Request, Slot, StoredArray } from "./source.ts";
import { bindInputs, copyValues, createSlot, padSlot } from "./source.ts";

export interface HostedOptions {
  readonly graph: Graph;
  readonly data: HostedData;
  readonly manifest: DatasetManifest;
  readonly plan: RunPlan;
  readonly seed: number;
  readonly chunks: ChunkStore;
  /** Milliseconds, for durations. */
  readonly now: () => number;
}

/** The columns of one chunk as typed views. */
type Columns = readonly StoredArray[];

/** Samples of a piece of work whose chunks are fetched ahead: each has to be located, and a lease may have millions. */
const MOST_AHEAD = 16_384;

/** Of these samples nothing is learnt. */
const isHeldOut = (work: Work): work is "validate" | "test" => work === "validate" || work === "test";

function storedOf(input: BoundInput, columns: ReadonlyMap<number, Columns>, chunk: number): StoredArray {
  const stored = columns.get(chunk)?.[input.column];
  if (stored === undefined) throw new RangeError(`chunk ${chunk} was not loaded`);
  return stored;
}

export class HostedSource implements DataSource {
  readonly localSamples = null;
  readonly #options: HostedOptions;
  readonly #bindings: Bindings;
  /** Views of the chunks in use, kept for as long as the chunk's bytes are. */
  readonly #views = new WeakMap<Uint8Array<ArrayBuffer>, Columns>();
  /** First row of each sample of a micro-batch. */
  readonly #rows: Int32Array;
  readonly #window: RowWindow;
  /** Rows that the inputs of one sample reach over. */
  readonly #reach: number;
  #epoch = -1;
  #order: Permutation | null = null;
  #waited = 0;

  constructor(options: HostedOptions) {
    this.#options = options;
    const columns = options.manifest.columns.map(({ name, dtype }) => ({ name, isBytes: dtype === "uint8" }));
    this.#bindings = bindInputs(options.graph, options.data, columns);
    this.#rows = new Int32Array(options.plan.microBatch);
    this.#window = windowOf(options.data);
    this.#reach = reachOf(options.data);
  }

  get waited(): number {
    return this.#waited;
  }

  createSlot(): Slot {
    return createSlot(this.#bindings, this.#options.plan.microBatch);
  }

  async fill(request: Request, slot: Slot): Promise<number> {
    const { plan, seed } = this.#options;
    const real = this.#locate(request.work, request.step, request.index, this.#rows);
    if (real <= 0) throw new RangeError(`micro-batch ${request.index} of step ${request.step} holds no sample`);
    // The rows are copied out of the scratch array, because another micro-batch may be located while chunks load.
    const rows = this.#rows.slice(0, real);
    const columns = new Map<number, Columns>();
    const missing: Promise<void>[] = [];
    for (const chunk of this.#chunksOf(rows)) {
      const wanted = this.#chunk(chunk);
      const held = this.#options.chunks.peek(wanted.hash);
      columns.set(chunk, held === undefined ? [] : this.#columns(chunk, held));
      if (held === undefined) {
        missing.push(
          this.#options.chunks.load(wanted).then((bytes) => void columns.set(chunk, this.#columns(chunk, bytes))),
        );
      }
    }
    if (missing.length > 0) {
      const { now } = this.#options;
      const start = now();
      await Promise.all(missing);
      this.#waited += now() - start;
    }
    for (const input of this.#bindings.inputs) {
      const target = slot[input.name];
      const augmenter = isHeldOut(request.work) ? null : input.augmenter;
      augmenter?.startEpoch(seed, epochOf(plan, request.step));
      for (let i = 0; i < real; i++) {
        if (augmenter === null) this.#copyRows(input, columns, rows[i] + input.shift, target, i);
        else this.#copyAugmented(augmenter, input, columns, rows[i], target, i);
      }
    }
    padSlot(this.#bindings, slot, real, plan.microBatch);
    return real;
  }

  prefetch(work: Work, step: number, from: number, to: number): void {
    const { chunks: store, manifest, plan } = this.#options;
    if (store.count === manifest.chunks.length) return;
    const chunks = new Set<number>();
    const end = Math.min(to, from + Math.ceil(MOST_AHEAD / plan.microBatch));
    for (let index = from; index < end; index++) {
      const real = this.#locate(work, step, index, this.#rows);
      for (const chunk of this.#chunksOf(this.#rows.subarray(0, Math.max(0, real)))) chunks.add(chunk);
    }
    for (const chunk of chunks) store.prefetch(this.#chunk(chunk));
  }

  dispose(): void {
    this.#options.chunks.dispose();
  }

  /** Writes the first row of each of a micro-batch's samples; returns how many are real. */
  #locate(work: Work, step: number, index: number, into: Int32Array): number {
    const { plan, data, seed } = this.#options;
    const { stride } = this.#window;
    const range = workSamples(plan, work, step);
    const first = range.from + index * plan.microBatch;
    const real = Math.min(plan.microBatch, range.to - first);
    if (isHeldOut(work)) {
      const start = (work === "validate" ? data.validation : data.test)[0];
      for (let i = 0; i < real; i++) into[i] = start + (first + i) * stride;
      return real;
    }
    const epoch = epochOf(plan, step);
    if (this.#order === null || epoch !== this.#epoch) {
      this.#epoch = epoch;
      this.#order = new Permutation(epochKey(seed, epoch), plan.trainSamples);
    }
    for (let i = 0; i < real; i++) into[i] = data.train[0] + this.#order.at(first + i) * stride;
    return real;
  }

  /** The chunks that samples with these first rows reach into. */
  #chunksOf(rows: Int32Array): Set<number> {
    const { chunkSamples } = this.#options.manifest;
    const chunks = new Set<number>();
    for (const row of rows) {
      const last = Math.floor((row + this.#reach - 1) / chunkSamples);
      for (let chunk = Math.floor(row / chunkSamples); chunk <= last; chunk++) chunks.add(chunk);
    }
    return chunks;
  }

  /** Copies an input's rows from `first` on to position `to` of the slot, chunk by chunk. */
  #copyRows(input: BoundInput, columns: ReadonlyMap<number, Columns>, first: number, target: Input, to: number): void {
    const { chunkSamples } = this.#options.manifest;
    const { length } = this.#window;
    const size = input.elements / length;
    for (let done = 0; done < length; ) {
      const chunk = Math.floor((first + done) / chunkSamples);
      const row = first + done - chunk * chunkSamples;
      const count = Math.min(length - done, chunkSamples - row);
      const stored = storedOf(input, columns, chunk);
      copyValues(input, stored, row * size, target, to * input.elements + done * size, count * size);
      done += count;
    }
  }

  /** Copies an input's one row, changed: what is augmented has no windows. */
  #copyAugmented(
    augmenter: Augmenter,
    input: BoundInput,
    columns: ReadonlyMap<number, Columns>,
    row: number,
    target: Input,
    to: number,
  ): void {
    const { chunkSamples } = this.#options.manifest;
    const chunk = Math.floor(row / chunkSamples);
    augmenter.copy(row, storedOf(input, columns, chunk), row - chunk * chunkSamples, target as Tensor, to);
  }

  #chunk(chunk: number): ChunkRequest {
    const { manifest } = this.#options;
    const hash = manifest.chunks[chunk];
    if (hash === undefined) throw new RangeError(`chunk ${chunk} of ${manifest.chunks.length}`);
    return { hash, bytes: chunkLayout(manifest.columns, samplesOfChunk(manifest, chunk)).bytes };
  }

  #columns(chunk: number, bytes: Uint8Array<ArrayBuffer>): Columns {
    const known = this.#views.get(bytes);
    if (known !== undefined) return known;
    const { manifest } = this.#options;
    const { columns } = manifest;
    const samples = samplesOfChunk(manifest, chunk);
    const { offsets } = chunkLayout(columns, samples);
    const views = columns.map(({ dtype, shape }, i) => {
      const at = bytes.byteOffset + offsets[i];
      const length = shape.reduce((size, dimension) => size * dimension, samples);
      if (dtype === "uint8") return new Uint8Array(bytes.buffer, at, length);
      return dtype === "int32" ? new Int32Array(bytes.buffer, at, length) : new Float32Array(bytes.buffer, at, length);
    });
    this.#views.set(bytes, views);
    return views;
  }
}
