/**
 * Samples of a hosted data set. Which ones follows from (seed, epoch, position) alone (invariant I2), so that every
 * client that is given a range of micro-batches sees the same samples.
 */

import type { Graph } from "../../shared/graph/ir.ts";
import type { Key } from "../../shared/random/index.ts";
import { epochKey, permuteIndex } from "../../shared/random/index.ts";
import type { DatasetManifest } from "../../shared/session/dataset.ts";
import { chunkLayout } from "../../shared/session/dataset.ts";
import type { HostedData } from "../../shared/session/definition.ts";
import { samplesOfChunk } from "../../shared/session/manifest.ts";
import type { RunPlan, Work } from "../../shared/session/plan.ts";
import { epochOf, workSamples } from "../../shared/session/plan.ts";
import type { ChunkRequest, ChunkStore } from "./chunks.ts";
import type { Bindings, DataSource, Request, Slot, StoredArray } from "./source.ts";
import { bindInputs, copySample, padSlot } from "./source.ts";

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

/** Of these samples nothing is learnt. */
const isHeldOut = (work: Work): work is "validate" | "test" => work === "validate" || work === "test";

export class HostedSource implements DataSource {
  readonly localSamples = null;
  readonly #options: HostedOptions;
  readonly #bindings: Bindings;
  /** Views of the chunks in use, kept for as long as the chunk's bytes are. */
  readonly #views = new WeakMap<Uint8Array<ArrayBuffer>, Columns>();
  readonly #samples: Int32Array;
  #epoch = -1;
  #key: Key = [0, 0];
  #waited = 0;

  constructor(options: HostedOptions) {
    this.#options = options;
    this.#bindings = bindInputs(options.graph, options.data, options.manifest.columns);
    this.#samples = new Int32Array(options.plan.microBatch);
  }

  get waited(): number {
    return this.#waited;
  }

  async fill(request: Request, slot: Slot): Promise<number> {
    const { manifest, plan, seed } = this.#options;
    const real = this.#locate(request.work, request.step, request.index, this.#samples);
    if (real <= 0) throw new RangeError(`micro-batch ${request.index} of step ${request.step} holds no sample`);
    // The samples are copied out of the scratch array, because another micro-batch may be located while chunks load.
    const samples = this.#samples.slice(0, real);
    const columns = new Map<number, Columns>();
    const missing: Promise<void>[] = [];
    for (const sample of samples) {
      const chunk = Math.floor(sample / manifest.chunkSamples);
      if (columns.has(chunk)) continue;
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
        const chunk = Math.floor(samples[i] / manifest.chunkSamples);
        const stored = (columns.get(chunk) ?? [])[input.column];
        const from = samples[i] - chunk * manifest.chunkSamples;
        if (augmenter === null) copySample(input, stored, from, target, i);
        else augmenter.copy(samples[i], stored, from, target, i);
      }
    }
    padSlot(this.#bindings, slot, real, plan.microBatch);
    return real;
  }

  prefetch(work: Work, step: number, from: number, to: number): void {
    const { manifest } = this.#options;
    const chunks = new Set<number>();
    for (let index = from; index < to; index++) {
      const real = this.#locate(work, step, index, this.#samples);
      for (let i = 0; i < real; i++) chunks.add(Math.floor(this.#samples[i] / manifest.chunkSamples));
    }
    for (const chunk of chunks) this.#options.chunks.prefetch(this.#chunk(chunk));
  }

  dispose(): void {
    this.#options.chunks.dispose();
  }

  /** Writes the data-set indices of a micro-batch's samples; returns how many are real. */
  #locate(work: Work, step: number, index: number, into: Int32Array): number {
    const { plan, data, seed } = this.#options;
    const range = workSamples(plan, work, step);
    const first = range.from + index * plan.microBatch;
    const real = Math.min(plan.microBatch, range.to - first);
    if (isHeldOut(work)) {
      const start = (work === "validate" ? data.validation : data.test)[0];
      for (let i = 0; i < real; i++) into[i] = start + first + i;
      return real;
    }
    const epoch = epochOf(plan, step);
    if (epoch !== this.#epoch) {
      this.#epoch = epoch;
      this.#key = epochKey(seed, epoch);
    }
    for (let i = 0; i < real; i++) into[i] = data.train[0] + permuteIndex(this.#key, plan.trainSamples, first + i);
    return real;
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
