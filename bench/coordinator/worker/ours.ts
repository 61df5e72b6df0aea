/** The coordinator's own passes, called as the session's object calls them. */

import { StepAggregate } from "../../../coordinator/aggregate/index.ts";
import {
  createKernels,
  type Kernels,
  LocalParameterShard,
  type UpdateRule,
  updateRule,
} from "../../../coordinator/optim/index.ts";
import kernelsModule from "../../../coordinator/optim/kernels.wasm";
import { kernelOf, scalarsOf, statesOf } from "../../../coordinator/optim/optimizers.ts";
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
  readonly #rule: UpdateRule;
  #squaredNorm = 0;
  #packed: Uint8Array = new Uint8Array(0);
  #updates = 0;

  constructor(definition: SessionDefinition) {
    this.#definition = definition;
    const { graph, codec } = definition;
    const plan = planRun(definition);
    const parameters = parameterLength(graph);
    const blocks = blockCount(parameters);
    const rule = updateRule(definition);
    this.#rule = rule;
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
      else if (work === "pack") this.#packed = this.#kernels.packed().sums;
      else if (work === "norm") this.#squaredNorm = this.#kernels.squaredNorm();
      else if (work === "adam") this.#updateAlone();
      else await this.#step();
    }
  }

  figure(work: WorkName): number {
    const { sums, weights } = this.#kernels;
    if (work === "norm") return this.#squaredNorm;
    return sumOfMagnitudes({ add: sums, pack: this.#packed, adam: weights, step: weights }[work]);
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

  /** A whole step, as it is made where nothing is clipped. */
  async #step(): Promise<void> {
    this.#begin();
    const { step } = this.#shard;
    await this.#shard.prepare(step, { weight: 1n << 29n, maxima: this.#aggregate.maxima });
    await this.#shard.commit(step, { scale: 1, optimizers: [this.#definition.optimizer] });
  }

  /** Of a step, what comes after the log. */
  #updateAlone(): void {
    this.#updates += 1;
    const scalars = scalarsOf(this.#definition.optimizer, this.#updates, { scale: 1, limit: Number.POSITIVE_INFINITY });
    for (const { options, spans } of this.#rule.groups) {
      for (const span of spans) this.#kernels.update(kernelOf(options), statesOf(options), span, scalars);
    }
  }
}
