/** The coordinator's own passes, called as the session's object calls them. */

import { StepAggregate } from "../../../coordinator/aggregate/index.ts";
import { createKernels, type Kernels, LocalParameterShard, updateRule } from "../../../coordinator/optim/index.ts";
import kernelsModule from "../../../coordinator/optim/kernels.wasm";
import type { Lease } from "../../../coordinator/round/types.ts";
import { Admission } from "../../../coordinator/session/admission.ts";
import { Delivery, Upload } from "../../../coordinator/session/upload.ts";
import { blockCount, magnitudeBits } from "../../../shared/codec/index.ts";
import { metricNames, parameterLength } from "../../../shared/graph/parameters.ts";
import { cutBody, decodeFrame } from "../../../shared/protocol/frames.ts";
import type { SessionDefinition } from "../../../shared/session/definition.ts";
import { microBatchesPerStep, planRun } from "../../../shared/session/plan.ts";
import { makeBody, makeHeader } from "../../harness/contributions.ts";
import { type Bench, firstWeight, sumOfMagnitudes } from "./bench.ts";
import type { WorkName } from "./job.ts";

const LEASE: Lease = { id: 1, work: "train", step: 0, version: 2, from: 0, to: 1, assignedAt: 0, deadline: 0 };
const EXPONENT = 121;

export class OurBench implements Bench {
  readonly #definition: SessionDefinition;
  readonly #kernels: Kernels;
  readonly #shard: LocalParameterShard;
  readonly #aggregate: StepAggregate;
  readonly #admission: Admission;
  /** One contribution as its socket delivers it. */
  readonly #frames: readonly ArrayBuffer[];
  readonly #announced: Uint8Array;
  #squaredNorm = 0;

  constructor(definition: SessionDefinition) {
    this.#definition = definition;
    const { graph, codec } = definition;
    const plan = planRun(definition);
    const parameters = parameterLength(graph);
    const blocks = blockCount(parameters);
    const rule = updateRule(definition);
    this.#kernels = createKernels(kernelsModule, parameters, rule.states);
    const microBatches = microBatchesPerStep(plan);
    this.#shard = new LocalParameterShard({
      kernels: this.#kernels,
      rule,
      codec,
      bits: magnitudeBits(codec, microBatches),
      microBatches,
      log: { append: () => {} },
    });
    this.#aggregate = new StepAggregate({ blocks, metrics: metricNames(graph).length });
    this.#admission = new Admission(definition, plan);
    const header = makeHeader(definition, "train", { ...LEASE, lease: LEASE.id });
    this.#frames = [...cutBody(header, makeBody(definition, "train"))].map(({ buffer }) => buffer);
    const weights = this.#shard.weights();
    for (let at = 0; at < parameters; at++) weights[at] = firstWeight(at);
    this.#announced = new Uint8Array(blocks).fill(EXPONENT);
    this.#begin();
    // Sets the scales of the blocks, which stay as they are from here on.
    void this.#shard.prepare(0, { weight: 1n << 29n, maxima: this.#aggregate.maxima });
  }

  async run(work: WorkName, repetitions: number): Promise<void> {
    for (let repetition = 0; repetition < repetitions; repetition++) {
      if (work === "add") this.#add();
      else if (work === "decode") this.#kernels.decode();
      else if (work === "norm") this.#squaredNorm = this.#kernels.squaredNorm();
      else {
        if (work === "step") this.#begin();
        await this.#update();
      }
    }
  }

  figure(work: WorkName): number {
    const { sums, weights } = this.#kernels;
    if (work === "norm") return this.#squaredNorm;
    const gradients = new Float32Array(sums.buffer, sums.byteOffset, sums.length);
    return sumOfMagnitudes({ add: sums, decode: gradients, adam: weights, step: weights }[work]);
  }

  /** A step of one contribution. */
  #begin(): void {
    this.#shard.begin(this.#announced);
    this.#add();
  }

  /** From the frames to the sums: all that is looked at and moved on the way. */
  #add(): void {
    let upload: Upload | null = null;
    for (const buffer of this.#frames) {
      const frame = decodeFrame(buffer);
      this.#admission.checkHeader(LEASE, frame);
      let body: Delivery | null = new Delivery([frame.payload]);
      if (frame.payload.byteLength < frame.total) {
        upload ??= new Upload(frame);
        body = upload.add(frame);
      }
      if (body === null) continue;
      const contribution = this.#admission.read(LEASE, frame, body);
      this.#aggregate.add(contribution);
      this.#shard.add(contribution.sums, contribution.microBatches);
    }
  }

  /**
   * The log's copy of the sums, decoding and Adam; the norm is asked for where gradients are clipped alone. The sums are not begun anew, which is the adding's business: the bits
   * of the gradients that decoding left in their memory are integers as good as others, but too large for the log to pack: that
   * pass is in a whole step alone.
   */
  async #update(): Promise<void> {
    const { step } = this.#shard;
    await this.#shard.prepare(step, { weight: 1n << 29n, maxima: this.#aggregate.maxima });
    await this.#shard.commit(step, { scale: 1, optimizers: [this.#definition.optimizer] });
  }
}
