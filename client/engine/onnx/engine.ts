/**
 * The ONNX engine: a pool of members, each a single-threaded session of its own; a micro-batch goes to whichever is free.
 * Integer addition of their sums makes the result the same whoever computed what, and needs no synchronisation.
 */

import type { Contribution, EngineOptions, GradientEngine, MicroBatch, ShardTask, Tensor } from "../engine.ts";
import type { PoolMember } from "./compute.ts";

export interface OnnxEngineOptions extends EngineOptions {
  readonly kind: "wasm" | "native";
  /** For people. */
  readonly device: string;
  readonly members: readonly PoolMember[];
}

class OnnxEngine implements GradientEngine {
  readonly kind: "wasm" | "native";
  readonly device: string;
  readonly #members: readonly PoolMember[];
  #idle: PoolMember[];
  readonly #waiting: ((member: PoolMember) => void)[] = [];
  #running: Promise<void>[] = [];
  #failure: { readonly error: unknown } | null = null;
  #begun: Promise<unknown> = Promise.resolve();

  constructor({ kind, device, members }: OnnxEngineOptions) {
    this.kind = kind;
    this.device = device;
    this.#members = members;
    this.#idle = [...members];
  }

  async setWeights(weights: Float32Array): Promise<void> {
    await Promise.all(this.#members.map((member) => member.setWeights(weights)));
  }

  begin(task: ShardTask): void {
    const before = Promise.allSettled(this.#running);
    this.#running = [];
    this.#failure = null;
    this.#begun = before.then(() => Promise.all(this.#members.map((member) => member.begin(task))));
    this.#begun.catch(() => {}); // `accumulate` and `take` await it
  }

  async accumulate(microBatch: MicroBatch): Promise<void> {
    await this.#begun;
    const member = this.#idle.pop() ?? (await new Promise<PoolMember>((resolve) => this.#waiting.push(resolve)));
    const run = member
      .run(microBatch)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        const next = this.#waiting.shift();
        if (next === undefined) this.#idle.push(member);
        else next(member);
      });
    this.#running.push(run);
  }

  async idle(): Promise<void> {
    await Promise.all(this.#running);
  }

  async take(): Promise<Contribution> {
    await this.#begun;
    await Promise.all(this.#running);
    if (this.#failure !== null) throw this.#failure.error;
    const [first, ...others] = await Promise.all(this.#members.map((member) => member.take()));
    return others.reduce(addContributions, first);
  }

  predict(features: Readonly<Record<string, Tensor>>, samples: number): Promise<Float32Array> {
    return this.#members[0].predict(features, samples);
  }

  async dispose(): Promise<void> {
    await Promise.allSettled(this.#running);
    await Promise.all(this.#members.map((member) => member.dispose()));
  }
}

/** Adds `next` into `sum`, whose arrays are its own. */
function addContributions(sum: Contribution, next: Contribution): Contribution {
  for (let at = 0; at < sum.sums.length; at++) sum.sums[at] += next.sums[at];
  for (let block = 0; block < sum.maxima.length; block++) {
    if (next.maxima[block] > sum.maxima[block]) sum.maxima[block] = next.maxima[block];
  }
  return {
    sums: sum.sums,
    maxima: sum.maxima,
    clamped: sum.clamped + next.clamped,
    loss: sum.loss + next.loss,
    weight: sum.weight + next.weight,
    metrics: sum.metrics.map((value, index) => value + next.metrics[index]),
  };
}

export function createOnnxEngine(options: OnnxEngineOptions): GradientEngine {
  return new OnnxEngine(options);
}
