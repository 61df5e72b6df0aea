/**
 * A training without sockets: the real round machine, aggregate, parameter shard and WASM kernels, and a real engine, in
 * one process. What remains of a session when everything that carries bytes is taken away.
 */

import { readFileSync } from "node:fs";
import type { Contribution, MicroBatch } from "../../client/engine/engine.ts";
import { createWasmEngine } from "../../client/engine/node/engine.ts";
import { StepAggregate } from "../../coordinator/aggregate/index.ts";
import { createKernels, LocalParameterShard, updateRule } from "../../coordinator/optim/index.ts";
import { advance, createRound, type Lease, type RoundEvent } from "../../coordinator/round/index.ts";
import {
  advanceEnvelope,
  announce,
  blockCount,
  createEnvelope,
  encodeSums,
  type GradientCodec,
  magnitudeBits,
} from "../../shared/codec/index.ts";
import { differentiate, type Graph, givenWeights, initialize, parameterLength } from "../../shared/graph/index.ts";
import type { OptimizerOptions } from "../../shared/session/optimizer.ts";
import { type RunPlan, workMicroBatches } from "../../shared/session/plan.ts";

export interface Program {
  readonly graph: Graph;
  readonly optimizer: OptimizerOptions;
  readonly plan: RunPlan;
  /** Inputs of micro-batch `index` of a step. */
  readonly microBatch: (step: number, index: number) => MicroBatch;
  /** Of the first weights and dropout; 0 if absent. */
  readonly seed?: number;
  /** How gradients travel; `fixed32` if absent. */
  readonly codec?: GradientCodec;
  /** Is told of every lease's sums as they would travel. */
  readonly sent?: (lease: Lease, sums: Uint8Array) => void;
  /** Is given the last weights. */
  readonly finished?: (weights: Float32Array) => void;
}

/** The loss of every step, as the coordinator would record it. */
export async function trainInProcess(program: Program): Promise<number[]> {
  const { graph, optimizer, plan, microBatch, seed = 0, codec = "fixed32", sent, finished } = program;
  const parameters = parameterLength(graph);
  const blocks = blockCount(parameters);
  const microBatches = Math.ceil(plan.batchSize / plan.microBatch);
  const bits = magnitudeBits(codec, microBatches);
  const module = new WebAssembly.Module(readFileSync(new URL("../../coordinator/optim/kernels.wasm", import.meta.url)));
  const rule = updateRule({ graph, optimizer });
  const kernels = createKernels(module, parameters, rule.states);
  const shard = new LocalParameterShard({
    kernels,
    rule,
    codec,
    bits,
    microBatches,
    log: { append: () => {} },
  });
  shard.weights().set(initialize(graph, seed, givenWeights(graph)));
  const aggregate = new StepAggregate({ blocks, metrics: Object.keys(graph.outputs.metrics).length });
  const options = { graph: differentiate(graph, plan.microBatch), microBatch: plan.microBatch, seed };
  const engine = await createWasmEngine(options, 1);
  const round = createRound(plan, { stage: "calibrate", step: 0, version: 1, status: "running", nextLease: 1 });

  const losses: number[] = [];
  let envelope = new Uint8Array(blocks);
  let version = 1;
  let time = 0;
  const events: RoundEvent[] = [
    { type: "joined", time, client: "only", version: null, lease: null },
    { type: "ready", time, client: "only", version },
  ];

  const compute = async (lease: Lease): Promise<Contribution> => {
    await engine.setWeights(shard.weights());
    engine.begin({
      work: lease.work === "calibrate" ? "calibrate" : "gradient",
      step: lease.step,
      microBatches: workMicroBatches(plan, lease.work, lease.step),
      magnitudeBits: lease.work === "calibrate" ? 0 : bits,
      exponents: lease.work === "calibrate" ? new Uint8Array(0) : announce(envelope),
    });
    for (let index = lease.from; index < lease.to; index++) await engine.accumulate(microBatch(lease.step, index));
    return engine.take();
  };

  let result: Contribution | null = null;
  for (let event = events.shift(); event !== undefined; event = events.shift()) {
    for (const effect of advance(round, event)) {
      time += 1;
      if (effect.type === "assign") {
        const { id, step } = effect.lease;
        result = await compute(effect.lease);
        events.push({ type: "result", time, client: "only", lease: id, version: effect.lease.version, step });
      } else if (effect.type === "accept" && result !== null) {
        const { from, to, work } = effect.lease;
        const samples = (to - from) * plan.microBatch;
        aggregate.add({ ...result, microBatches: to - from, samples });
        if (work === "train") {
          const sums = encodeSums(result.sums, codec);
          sent?.(effect.lease, sums);
          shard.add([sums]);
        }
      } else if (effect.type === "complete") {
        version += 1;
        let done = effect.step;
        if (effect.work === "calibrate") envelope = createEnvelope(aggregate.maxima) as Uint8Array<ArrayBuffer>;
        else {
          losses.push(aggregate.means()?.loss ?? Number.NaN);
          await shard.prepare(effect.step, { weight: aggregate.weight, maxima: aggregate.maxima });
          done = await shard.commit(effect.step, { scale: 1, optimizers: [optimizer] });
          envelope = advanceEnvelope(envelope, aggregate.maxima, done) as Uint8Array<ArrayBuffer>;
        }
        aggregate.reset();
        shard.begin(announce(envelope));
        const stage = done === plan.totalSteps ? "done" : "train";
        events.push({ type: "committed", time, stage, step: done, version });
      } else if (effect.type === "broadcast") events.push({ type: "ready", time, client: "only", version });
    }
  }
  await engine.dispose();
  finished?.(shard.weights());
  return losses;
}
