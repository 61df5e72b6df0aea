/**
 * The caller's own samples: they never leave the client, which also chooses among them. The coordinator assigns counts
 * only, so the client walks through its samples in an order of its own, shuffled anew on each pass.
 */

import type { Graph } from "../../shared/graph/ir.ts";
import { epochKey, Permutation } from "../../shared/random/index.ts";
import type { LocalData } from "../../shared/session/definition.ts";
import type { RunPlan } from "../../shared/session/plan.ts";
import { workSamples } from "../../shared/session/plan.ts";
import { TrainingError } from "../core/errors.ts";
import type { Tensor } from "../engine/engine.ts";
import type { Bindings, DataSource, Request, Slot, StoredArray } from "./source.ts";
import { bindInputs, copySample, createSlot, padSlot } from "./source.ts";

/** One array a column, [samples, ...shape] flat: typed arrays, or plain arrays of numbers. */
export type LocalColumns = Readonly<Record<string, StoredArray>>;

export interface LocalOptions {
  readonly graph: Graph;
  readonly data: LocalData;
  readonly columns: LocalColumns;
  readonly plan: RunPlan;
  /** Seed of this client's own order: an unsigned 32-bit integer. */
  readonly shuffleSeed: number;
}

/** Number of samples in the caller's arrays. Throws TrainingError `invalid-argument` naming what does not fit. */
export function countLocalSamples(data: LocalData, columns: LocalColumns): number {
  let samples: number | null = null;
  for (const { name, shape } of data.columns) {
    const stored = columns[name];
    if (stored === undefined) {
      const names = data.columns.map((column) => column.name).join(", ");
      throw new TrainingError("invalid-argument", `own data need the column ${name}; this session asks for ${names}`);
    }
    const elements = shape.reduce((size, dimension) => size * dimension, 1);
    const count = stored.length / elements;
    if (!Number.isInteger(count) || count === 0) {
      throw new TrainingError(
        "invalid-argument",
        `column ${name} has ${stored.length} values, not a multiple of ${elements} (one sample of [${shape.join(", ")}])`,
      );
    }
    if (samples !== null && count !== samples) {
      throw new TrainingError("invalid-argument", `column ${name} has ${count} samples, the others have ${samples}`);
    }
    samples = count;
  }
  if (samples === null) throw new TrainingError("invalid-argument", "the session names no column");
  return samples;
}

export class LocalSource implements DataSource {
  readonly waited = 0;
  readonly localSamples: number;
  readonly #options: LocalOptions;
  readonly #bindings: Bindings;
  readonly #stored: readonly StoredArray[];
  #order: Permutation;
  #pass = 0;
  #cursor = 0;

  constructor(options: LocalOptions) {
    const { data, columns, graph } = options;
    this.localSamples = countLocalSamples(data, columns);
    this.#options = options;
    this.#stored = data.columns.map(({ name }) => columns[name]);
    const kinds = data.columns.map(({ name }) => ({ name, isBytes: columns[name] instanceof Uint8Array }));
    this.#bindings = bindInputs(graph, data, kinds);
    this.#order = this.#startPass();
  }

  createSlot(): Slot {
    return createSlot(this.#bindings, this.#options.plan.microBatch);
  }

  async fill(request: Request, slot: Slot): Promise<number> {
    const { plan } = this.#options;
    const range = workSamples(plan, request.work, request.step);
    const real = Math.min(plan.microBatch, range.to - range.from - request.index * plan.microBatch);
    if (real <= 0) throw new RangeError(`micro-batch ${request.index} of step ${request.step} holds no sample`);
    for (let i = 0; i < real; i++) {
      const sample = this.#next();
      for (const input of this.#bindings.inputs) {
        const stored = this.#stored[input.column];
        if (input.augmenter === null) copySample(input, stored, sample, slot[input.name], i);
        else input.augmenter.copy(sample, stored, sample, slot[input.name] as Tensor, i);
      }
    }
    padSlot(this.#bindings, slot, real, plan.microBatch);
    return real;
  }

  prefetch(): void {}

  dispose(): void {}

  #next(): number {
    if (this.#cursor === this.localSamples) {
      this.#cursor = 0;
      this.#pass += 1;
      this.#order = this.#startPass();
    }
    return this.#order.at(this.#cursor++);
  }

  /** Returns the pass's order. Pictures change anew with it. */
  #startPass(): Permutation {
    const { shuffleSeed } = this.#options;
    for (const { augmenter } of this.#bindings.inputs) augmenter?.startEpoch(shuffleSeed, this.#pass);
    return new Permutation(epochKey(shuffleSeed, this.#pass), this.localSamples);
  }
}
