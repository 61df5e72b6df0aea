/**
 * A shard of the parameter space: weights, moments and the open step's integer sums, and the two-phase update over them.
 * Everything is asynchronous at the seam, because a shard may one day be another object; `LocalParameterShard` is the one
 * in this object's memory.
 */

import {
  blockCount,
  CODECS,
  findPackingFault,
  gridScale,
  largestSum,
  lastSquares,
  MOST_BITS,
  SCALAR_UNIT,
} from "../../shared/codec/index.ts";
import type { GradientCodec } from "../../shared/session/definition.ts";
import type { OptimizerOptions } from "../../shared/session/optimizer.ts";
import { KERNELS_BUILD } from "./build.ts";
import { type Change, ClientWeights, type EncodedChange } from "./client-weights.ts";
import { type Kernels, SCALARS } from "./kernels.ts";
import { kernelOf, SQUARES_DECAY, scalarsOf, statesOf } from "./optimizers.ts";
import { AVERAGE, CENTER, clipsLength, DOWNLINK_GRID, type Kept, kept, type UpdateRule } from "./rule.ts";
import { SecondMoments, type Squares } from "./second-moments.ts";

/** Scalars of a record that belong to no group: 1/Σweight and the decay of the average. */
const HEAD = 2;

/** Everything that one update consumed: enough to repeat it bit for bit. */
export interface StepRecord {
  /** Updates done before this one. */
  readonly step: number;
  /** What holds every sum, whatever clients sent: packed, if none needs more than 16 bits. Older records have `fixed16` instead. */
  readonly codec: "fixed32" | "fixed16" | "packed";
  /** Integer sums over the whole step by codec, little-endian, [parameters]; valid while it is appended. */
  readonly sums: Uint8Array;
  /** Grid that they are on, and the exponents that were seen, [blocks]. */
  readonly announced: Uint8Array;
  readonly maxima: Uint8Array;
  /** Σ weight in units of 2⁻²⁴. */
  readonly weight: bigint;
  /** Float32: 1/Σweight, the decay of the average of weights, `SCALARS` for each group, and the step's squares, if it has any. */
  readonly scalars: Float32Array;
  /** Build of the kernels that applied it first. */
  readonly kernels: string;
}

/** What results of a step come to besides their integers. */
export interface Totals {
  /** Σ weight in units of 2⁻²⁴. */
  readonly weight: bigint;
  readonly maxima: Uint8Array;
  /** Absent where the step carries none. */
  readonly squares?: Squares;
}

/** Where a step is made durable, before any memory changes. Throwing leaves the shard as it was. */
export interface StepLog {
  append(record: StepRecord): void;
}

/** What the coordinator decides about a prepared step. */
export interface Update {
  /** What the mean gradient is multiplied by: the clip factor over all shards. */
  readonly scale: number;
  /** The optimizer of each group of the rule, with this step's learning rate. */
  readonly optimizers: readonly OptimizerOptions[];
}

export interface ParameterShard {
  /** Updates done. */
  readonly step: number;
  /** Opens a step on a grid: sums are zero. */
  begin(announced: Uint8Array): void;
  /**
   * Adds encoded sums of this shard's size, in pieces cut anywhere, of so many micro-batches of this step. Answers false, and adds
   * nothing, where one is larger than they can come to. Throws RangeError for any other size.
   */
  add(sums: readonly Uint8Array[], microBatches: number): boolean;
  /**
   * What encoded sums of this shard's size say, [parameters], in place of the open step's; valid until anything else is added. Null where
   * one is larger than so many micro-batches come to.
   */
  decode(sums: readonly Uint8Array[], microBatches: number): Int32Array | null;
  /** Lets `write` say what the open step comes to, in place of what was added. */
  replace(write: (sums: Int32Array, step: OpenStep) => void): void;
  /** Fixes what the step adds up to. The norm is that of the mean gradient, before clipping; null where no length is clipped. */
  prepare(step: number, totals: Totals): Promise<{ squaredNorm: number | null }>;
  /** Logs, then applies the prepared step; answers the updates done. A step done already is only answered. */
  commit(step: number, update: Update): Promise<number>;
  /** What gradients are to be taken at, [parameters]; valid until the next commit. */
  weights(): Float32Array;
}

/** What sums of the open step are to be read with. */
export interface OpenStep {
  /** What a block's integers are multiplied by to be gradient sums, [blocks]. */
  readonly units: Float64Array;
  /** The last step's mean gradient [parameters], where the rule keeps it. */
  readonly center: Float32Array | null;
}

interface Prepared extends Totals {
  readonly step: number;
  readonly inverseWeight: number;
}

export interface LocalShardOptions {
  readonly kernels: Kernels;
  readonly rule: UpdateRule;
  readonly codec: GradientCodec;
  /** Magnitude bits of one micro-batch's integers. */
  readonly bits: number;
  /** Of the largest step. */
  readonly microBatches: number;
  readonly log: StepLog;
}

export class LocalParameterShard implements ParameterShard {
  readonly #kernels: Kernels;
  readonly #rule: UpdateRule;
  readonly #codec: GradientCodec;
  /** By exponent byte: powers are dear, and every block of every step needs one. */
  readonly #gridScales: Float64Array;
  readonly #microBatches: number;
  readonly #log: StepLog;
  /** Null where clients are given the weights themselves. */
  readonly #clients: ClientWeights | null;
  /** Null where the optimizer takes squares of the gradient that it is given. */
  readonly #secondMoments: SecondMoments | null;
  /** Of a record, without squares. */
  readonly #scalars: number;
  #announced: Uint8Array;
  #prepared: Prepared | null = null;
  #step = 0;

  constructor({ kernels, rule, codec, bits, microBatches, log }: LocalShardOptions) {
    this.#kernels = kernels;
    this.#rule = rule;
    this.#codec = codec;
    this.#gridScales = Float64Array.from({ length: 256 }, (_, exponent) => gridScale(bits, exponent));
    this.#microBatches = microBatches;
    this.#log = log;
    const trainable = rule.groups.flatMap(({ spans }) => spans).reduce((sum, { count }) => sum + count, 0);
    this.#scalars = HEAD + rule.groups.length * SCALARS;
    this.#secondMoments = rule.squared.length > 0 ? new SecondMoments(kernels, rule.squared) : null;
    this.#clients = rule.sendsChanges ? new ClientWeights(kernels, trainable) : null;
    this.#announced = new Uint8Array(blockCount(kernels.weights.length));
  }

  get step(): number {
    return this.#step;
  }

  /** Bytes held, for the ledger. */
  get bytes(): number {
    return this.#kernels.bytes;
  }

  begin(announced: Uint8Array): void {
    if (announced.length !== this.#announced.length) {
      throw new RangeError(`${announced.length} exponents, expected ${this.#announced.length}`);
    }
    this.#announced = announced.slice();
    this.#prepared = null;
    this.#kernels.sums.fill(0);
  }

  add(sums: readonly Uint8Array[], microBatches: number): boolean {
    const { least, most } = CODECS[this.#codec].bytes(this.#kernels.sums.length, this.#microBatches);
    const bytes = sums.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (bytes < least || bytes > most) throw new RangeError(`${bytes} bytes of sums, expected ${least} to ${most}`);
    const scaleOf = (block: number): number => this.#gridScales[this.#announced[block]];
    return this.#kernels.add(
      sums,
      CODECS[this.#codec].frame,
      largestSum(this.#codec, microBatches, this.#microBatches),
      scaleOf,
    );
  }

  decode(sums: readonly Uint8Array[], microBatches: number): Int32Array | null {
    this.#kernels.sums.fill(0);
    return this.add(sums, microBatches) ? this.#kernels.sums : null;
  }

  replace(write: (sums: Int32Array, step: OpenStep) => void): void {
    const units = Float64Array.from(this.#announced, (exponent) => 1 / this.#gridScales[exponent]);
    write(this.#kernels.sums, { units, center: this.#kernels.states[CENTER] ?? null });
  }

  prepare(step: number, { weight, maxima, squares }: Totals): Promise<{ squaredNorm: number | null }> {
    if (weight <= 0n) throw new RangeError(`a step needs a positive weight, got ${weight}`);
    if (step !== this.#step) throw new RangeError(`step ${step} was prepared, ${this.#step} updates are done`);
    const inverseWeight = Math.fround(1 / (Number(weight) * SCALAR_UNIT));
    this.#prepared = { step, weight, maxima: maxima.slice(), inverseWeight, ...(squares && { squares }) };
    this.#setScales(inverseWeight);
    return Promise.resolve({ squaredNorm: clipsLength(this.#rule) ? this.#kernels.squaredNorm() : null });
  }

  commit(step: number, { scale, optimizers }: Update): Promise<number> {
    if (step < this.#step) return Promise.resolve(this.#step);
    const prepared = this.#prepared;
    if (prepared === null || prepared.step !== step) throw new RangeError(`step ${step} was not prepared`);
    const { weight, maxima, inverseWeight } = prepared;
    const { groups, clipValue, decay } = this.#rule;
    const squares = this.#squaresOf(prepared, scale, optimizers[0]);
    const scalars = new Float32Array(this.#scalars + squares.length);
    scalars.set(squares, this.#scalars);
    const last = lastSquares(step);
    const squared = this.#secondMoments === null ? null : { t: last.step + 1, gap: last.gap };
    scalars[0] = inverseWeight;
    // The first average is the weights themselves.
    scalars[1] = step === 0 ? 0 : (decay ?? 0);
    for (const [index] of groups.entries()) {
      const own = scalarsOf(optimizers[index], step + 1, { scale, limit: clipValue, squared });
      scalars.set(own, HEAD + index * SCALARS);
    }
    const { codec, sums } = this.#kernels.packed();
    const announced = this.#announced;
    this.#log.append({ step, codec, sums, announced, maxima, weight, scalars, kernels: KERNELS_BUILD });
    this.#apply(scalars);
    return Promise.resolve(this.#step);
  }

  /**
   * Repeats a logged step: bit for bit where these are the kernels that applied it first, which it answers; with another build of
   * them the result may differ in the last bits. Throws RangeError if it is not the next one, and Error if its packing is damaged.
   */
  replay(record: StepRecord): boolean {
    if (record.step !== this.#step) throw new RangeError(`logged step ${record.step}, ${this.#step} updates are done`);
    this.begin(record.announced);
    const { codec, sums } = record;
    const fault =
      codec === "packed" ? findPackingFault(sums, sums.byteLength, this.#kernels.sums.length, MOST_BITS) : null;
    if (fault !== null) throw new Error(`logged step ${record.step} has sums of ${fault}`);
    this.#kernels.add([sums], codec);
    this.#apply(record.scalars);
    return record.kernels === KERNELS_BUILD;
  }

  /** Counts steps that changed nothing, up to `step` updates done. */
  skipTo(step: number): void {
    if (step < this.#step) throw new RangeError(`${this.#step} updates are done, cannot go back to ${step}`);
    this.#step = step;
  }

  /** No update is done any more: what is kept is about to be read again. */
  rewind(): void {
    this.#step = 0;
    this.#prepared = null;
  }

  weights(): Float32Array<ArrayBuffer> {
    return this.#clients?.weights ?? this.#kernels.weights;
  }

  /** What the last update changed in `weights`, valid until the next commit; null where that is not known in whole units. */
  change(): Change | null {
    return this.#clients?.change ?? null;
  }

  /** The same, as clients are sent it. */
  encodeChange(): EncodedChange | null {
    return this.#clients?.encodeChange() ?? null;
  }

  /** Whether all weights are numbers, where that is looked at. */
  get isFinite(): boolean {
    return this.#clients?.isFinite ?? true;
  }

  /** Views of everything kept, by name: the optimizer's weights and the rule's states; copy what must outlive the next step. */
  snapshot(): Kept {
    const all = kept(this.#kernels);
    return this.#clients === null ? all : { ...all, [DOWNLINK_GRID]: this.#clients.grid };
  }

  /** Weights that are measured and that the session ends with: their average where one is kept. */
  measured(): Float32Array<ArrayBuffer> {
    return this.#kernels.states[AVERAGE] ?? this.weights();
  }

  /** Squares of the prepared step's mean gradient, by row and column; none where none came. */
  #squaresOf({ step, weight, squares }: Prepared, scale: number, optimizer: OptimizerOptions): Float32Array {
    const isAdam = optimizer.kind === "adam" || optimizer.kind === "adamw";
    if (squares === undefined || this.#secondMoments === null || !isAdam) return new Float32Array(0);
    const { beta1 } = optimizer;
    return this.#secondMoments.estimate(squares, { weight, scale, beta1, t: step + 1 });
  }

  #setScales(inverseWeight: number): void {
    const { scales } = this.#kernels;
    const announced = this.#announced;
    const gridScales = this.#gridScales;
    for (let block = 0; block < announced.length; block++) {
      scales[block] = Math.fround(inverseWeight / gridScales[announced[block]]);
    }
  }

  #apply(scalars: Float32Array): void {
    const [inverseWeight, decay] = scalars;
    this.#setScales(inverseWeight);
    const keep = CENTER in this.#kernels.states ? CENTER : null;
    const squares = scalars.subarray(this.#scalars);
    if (squares.length > 0) this.#secondMoments?.advance(squares, scalars[HEAD + SQUARES_DECAY]);
    for (const [index, { options, spans }] of this.#rule.groups.entries()) {
      const own = scalars.subarray(HEAD + index * SCALARS, HEAD + (index + 1) * SCALARS);
      const kernel = kernelOf(options, this.#secondMoments !== null);
      for (const span of spans) this.#kernels.update(kernel, statesOf(options), span, own, keep);
    }
    if (this.#rule.decay !== null) this.#kernels.average(AVERAGE, decay, 1 - decay);
    this.#clients?.follow();
    this.#step += 1;
    this.#prepared = null;
  }
}
