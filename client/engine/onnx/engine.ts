/**
 * The ONNX engine: a pool of members, each a single-threaded session of its own; a micro-batch goes to whichever is free.
 * Integer addition of their sums makes the result the same whoever computed what, and needs no synchronisation.
 */

import { blockCount } from "../../../shared/codec/index.ts";
import { parameterLength } from "../../../shared/graph/index.ts";
import {
  type Contribution,
  EngineError,
  type EngineOptions,
  type GradientEngine,
  type MicroBatch,
  type ShardTask,
  type Tensor,
} from "../engine.ts";
import type { PoolMember } from "./compute.ts";

export interface OnnxEngineOptions extends EngineOptions {
  readonly kind: "wasm" | "native";
  /** For people. */
  readonly device: string;
  readonly members: readonly PoolMember[];
}

/** What is under way for one shard. */
interface Shard {
  readonly work: Promise<unknown>[];
  failure: { readonly error: unknown } | null;
}

class OnnxEngine implements GradientEngine {
  readonly kind: "wasm" | "native";
  readonly device: string;
  readonly #blocks: number;
  readonly #members: readonly PoolMember[];
  /** Micro-batches that each member was handed and has not computed. */
  readonly #queued: Map<PoolMember, number>;
  readonly #waiting: (() => void)[] = [];
  #shard: Shard = { work: [], failure: null };
  /** Arrays of sums that nobody reads any more. */
  readonly #spare: Int32Array[] = [];

  constructor({ kind, device, members, graph }: OnnxEngineOptions) {
    this.kind = kind;
    this.device = device;
    this.#members = members;
    this.#queued = new Map(members.map((member) => [member, 0]));
    this.#blocks = blockCount(parameterLength(graph));
  }

  async setWeights(weights: Float32Array): Promise<void> {
    await Promise.all(this.#members.map((member) => member.setWeights(weights)));
  }

  begin(task: ShardTask): void {
    this.#shard = { work: [], failure: null };
    const { length } = task.exponents;
    if (task.work === "gradient" && length !== this.#blocks) {
      const problem = `${length} exponents were announced, this graph has ${this.#blocks} blocks`;
      this.#shard.failure = { error: new EngineError("failed", problem) };
      return;
    }
    for (const member of this.#members) this.#watch(this.#shard, member.begin(task));
  }

  async accumulate(microBatch: MicroBatch): Promise<void> {
    const shard = this.#shard;
    let member = this.#free();
    while (member === null) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      member = this.#free();
    }
    if (shard.failure !== null) throw shard.failure.error;
    this.#hand(shard, member, microBatch);
  }

  async idle(): Promise<void> {
    await Promise.all(this.#shard.work);
  }

  async take(): Promise<Contribution> {
    const shard = this.#shard;
    // Members work in turn: their sums are on the way as soon as their last micro-batch is computed.
    const taken = Promise.all(this.#members.map((member) => member.take(this.#spare.pop())));
    taken.catch(() => {}); // what went wrong first is what is said
    await Promise.all(shard.work);
    if (shard.failure !== null) throw shard.failure.error;
    const [first, ...others] = await taken;
    const sum = others.reduce(addContributions, first);
    for (const other of others) this.reuse(other);
    return sum;
  }

  reuse({ sums }: Contribution): void {
    if (sums.length > 0 && this.#spare.length < this.#members.length) this.#spare.push(sums);
  }

  predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array> {
    return this.#members[0].predict(features, samples);
  }

  async dispose(): Promise<void> {
    await this.idle();
    await Promise.all(this.#members.map((member) => member.dispose()));
  }

  #watch(shard: Shard, work: Promise<unknown>): void {
    shard.work.push(
      work.catch((error: unknown) => {
        shard.failure ??= { error };
      }),
    );
  }

  /** The member with the shortest queue, if that is short enough. */
  #free(): PoolMember | null {
    let found: PoolMember | null = null;
    let shortest = Number.POSITIVE_INFINITY;
    for (const [member, length] of this.#queued) {
      if (length >= member.queue || length >= shortest) continue;
      found = member;
      shortest = length;
    }
    return found;
  }

  #hand(shard: Shard, member: PoolMember, microBatch: MicroBatch): void {
    const count = (by: number): void => {
      this.#queued.set(member, (this.#queued.get(member) ?? 0) + by);
    };
    count(1);
    const run = member.run(microBatch).finally(() => {
      count(-1);
      for (const wake of this.#waiting.splice(0)) wake();
    });
    this.#watch(shard, run);
  }
}

/** Adds `next` into `sum`, whose arrays are its own. */
function addContributions(sum: Contribution, next: Contribution): Contribution {
  const { sums, maxima } = sum;
  const { sums: added, maxima: seen } = next;
  // The flat space is a multiple of 4; so unrolled it takes a quarter less time.
  for (let at = 0; at < sums.length; at += 4) {
    sums[at] = (sums[at] + added[at]) | 0;
    sums[at + 1] = (sums[at + 1] + added[at + 1]) | 0;
    sums[at + 2] = (sums[at + 2] + added[at + 2]) | 0;
    sums[at + 3] = (sums[at + 3] + added[at + 3]) | 0;
  }
  for (let block = 0; block < maxima.length; block++) if (seen[block] > maxima[block]) maxima[block] = seen[block];
  return {
    sums,
    maxima,
    clamped: sum.clamped + next.clamped,
    loss: sum.loss + next.loss,
    weight: sum.weight + next.weight,
    metrics: sum.metrics.map((value, index) => value + next.metrics[index]),
  };
}

export function createOnnxEngine(options: OnnxEngineOptions): GradientEngine {
  return new OnnxEngine(options);
}
