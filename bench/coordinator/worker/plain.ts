/** The same passes as somebody would write them in JavaScript: a loop each over typed arrays. */

import { blockCount, gridScale, magnitudeBits, pack } from "../../../shared/codec/index.ts";
import { parameterLength } from "../../../shared/graph/parameters.ts";
import type { SessionDefinition } from "../../../shared/session/definition.ts";
import { microBatchesPerStep, planRun } from "../../../shared/session/plan.ts";
import { makeSums } from "../../harness/contributions.ts";
import { type Bench, firstWeight, LEARNING_RATE, sumOfMagnitudes } from "./bench.ts";
import type { JobCodec, WorkName } from "./job.ts";

const EXPONENT = 121;
const SAMPLES = 32;
const BLOCK = 256;
const BETA1 = 0.9;
const BETA2 = 0.999;
const EPS = 1e-8;

export class PlainBench implements Bench {
  readonly #incoming: Int32Array | Int16Array;
  readonly #sums: Int32Array;
  /** Over the same memory as the sums. */
  readonly #gradients: Float32Array;
  readonly #scales: Float32Array;
  readonly #weights: Float32Array;
  readonly #m: Float32Array;
  readonly #v: Float32Array;
  #step = 0;
  #squaredNorm = 0;
  #packed: Uint8Array = new Uint8Array(0);

  constructor(definition: SessionDefinition, codec: JobCodec) {
    const { graph } = definition;
    const parameters = parameterLength(graph);
    const blocks = blockCount(parameters);
    this.#incoming = { fixed32: Int32Array, fixed16: Int16Array }[codec].from(makeSums(parameters));
    this.#sums = Int32Array.from(this.#incoming);
    this.#gradients = new Float32Array(this.#sums.buffer);
    const bits = magnitudeBits(codec, microBatchesPerStep(planRun(definition)));
    this.#scales = new Float32Array(blocks).fill(1 / SAMPLES / gridScale(bits, EXPONENT));
    this.#weights = Float32Array.from({ length: parameters }, (_, at) => firstWeight(at));
    this.#m = new Float32Array(parameters);
    this.#v = new Float32Array(parameters);
  }

  async run(work: WorkName, repetitions: number): Promise<void> {
    for (let repetition = 0; repetition < repetitions; repetition++) {
      if (work === "add") this.#add();
      else if (work === "pack") this.#packed = pack(this.#sums);
      else if (work === "norm") this.#norm();
      else {
        if (work === "step") this.#begin();
        this.#update();
      }
    }
  }

  figure(work: WorkName): number {
    if (work === "norm") return this.#squaredNorm;
    return sumOfMagnitudes({ add: this.#sums, pack: this.#packed, adam: this.#weights, step: this.#weights }[work]);
  }

  #begin(): void {
    this.#sums.fill(0);
    this.#add();
  }

  #add(): void {
    const incoming = this.#incoming;
    const sums = this.#sums;
    for (let at = 0; at < sums.length; at++) sums[at] += incoming[at];
  }

  #decode(): void {
    const sums = this.#sums;
    const gradients = this.#gradients;
    const scales = this.#scales;
    for (let at = 0; at < sums.length; at++) gradients[at] = sums[at] * scales[Math.floor(at / BLOCK)];
  }

  #norm(): void {
    const sums = this.#sums;
    const scales = this.#scales;
    let sum = 0;
    for (let at = 0; at < sums.length; at++) {
      const gradient = sums[at] * scales[Math.floor(at / BLOCK)];
      sum += gradient * gradient;
    }
    this.#squaredNorm = sum;
  }

  #update(): void {
    this.#decode();
    const gradients = this.#gradients;
    const weights = this.#weights;
    const m = this.#m;
    const v = this.#v;
    this.#step += 1;
    const stepSize = LEARNING_RATE / (1 - BETA1 ** this.#step);
    const rootBias = Math.sqrt(1 - BETA2 ** this.#step);
    for (let at = 0; at < weights.length; at++) {
      const gradient = gradients[at];
      m[at] = BETA1 * m[at] + (1 - BETA1) * gradient;
      v[at] = BETA2 * v[at] + (1 - BETA2) * gradient * gradient;
      weights[at] -= (stepSize * m[at]) / (Math.sqrt(v[at]) / rootBias + EPS);
    }
  }
}
