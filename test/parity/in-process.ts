/**
 * A training without sockets: the real round machine, aggregate, parameter shard and WASM kernels, and a real engine, in
 * one process. What remains of a session when everything that carries bytes is taken away.
 */

import { readFileSync } from "node:fs";
import { ErrorFeedback } from "../../client/core/feedback.ts";
import type { Coarse } from "../../client/core/result.ts";
import type { Contribution, MicroBatch } from "../../client/engine/engine.ts";
import { createWasmEngine } from "../../client/engine/node/engine.ts";
import { StepAggregate } from "../../coordinator/aggregate/index.ts";
import {
  type Change,
  createKernels,
  initialStates,
  LocalParameterShard,
  updateRule,
} from "../../coordinator/optim/index.ts";
import { advance, createRound, type Lease, type RoundEvent } from "../../coordinator/round/index.ts";
import {
  advanceEnvelope,
  announce,
  blockCount,
  CODECS,
  carriesSquares,
  createEnvelope,
  encodeSums,
  fromBfloat16,
  type GradientCodec,
  largestSum,
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
  /** How weights travel; whole if absent. */
  readonly downlink?: "float32" | "delta";
  /** Who computes; 1 if absent. They share one engine, and each has what it owes to itself. */
  readonly clients?: number;
  /** Is told of every training lease's sums as they would travel, and of how many squares go with them. */
  readonly sent?: (lease: Lease, sums: Uint8Array, squares: number) => void;
  /** Is told after every update what changed, where that is what would travel. */
  readonly changed?: (change: Change | null) => void;
  /** Is given the last weights. */
  readonly finished?: (weights: Float32Array) => void;
}

/** The loss of every step, as the coordinator would record it. */
export async function trainInProcess(program: Program): Promise<number[]> {
  const {
    graph,
    optimizer,
    plan,
    microBatch,
    seed = 0,
    codec = "fixed32",
    downlink = "float32",
    clients = 1,
  } = program;
  const parameters = parameterLength(graph);
  const blocks = blockCount(parameters);
  const microBatches = Math.ceil(plan.batchSize / plan.microBatch);
  const { part } = CODECS[codec];
  const bits = CODECS[codec].magnitudeBits(microBatches);
  const module = new WebAssembly.Module(readFileSync(new URL("../../coordinator/optim/kernels.wasm", import.meta.url)));
  const wire = downlink === "delta" ? { downlink } : {};
  const rule = updateRule({ graph, optimizer, codec, ...wire });
  const kernels = createKernels(module, parameters, rule.states);
  const shard = new LocalParameterShard({
    kernels,
    rule,
    codec,
    bits,
    microBatches,
    log: { append: () => {} },
  });
  const weights = initialize(graph, seed, givenWeights(graph));
  const first = { weights, ...initialStates({ graph, optimizer, codec, ...wire }, weights) };
  for (const [name, values] of Object.entries(first)) shard.snapshot()[name].set(values);
  const aggregate = new StepAggregate({ blocks, metrics: Object.keys(graph.outputs.metrics).length });
  const options = { graph: differentiate(graph, plan.microBatch), microBatch: plan.microBatch, seed };
  const engine = await createWasmEngine(options, 1);
  const round = createRound(plan, { stage: "calibrate", step: 0, version: 1, status: "running", nextLease: 1 });

  const losses: number[] = [];
  let envelope = new Uint8Array(blocks);
  let version = 1;
  let time = 0;
  const names = Array.from({ length: clients }, (_, at) => `client ${at}`);
  const feedbacks = new Map(
    names.map((name) => [name, part === null ? null : new ErrorFeedback(parameters, part, rule.squared)]),
  );
  const readies = (): RoundEvent[] => names.map((client) => ({ type: "ready", time, client, version }));
  const events: RoundEvent[] = [
    ...names.map((client): RoundEvent => ({ type: "joined", time, client, version: null, lease: null })),
    ...readies(),
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
  const leaveOut = (client: string, { id, step, from, to }: Lease, sums: Int32Array): Coarse | null => {
    const grid = {
      exponents: announce(envelope),
      magnitudeBits: bits,
      largest: largestSum(codec, to - from, microBatches),
    };
    const feedback = feedbacks.get(client);
    const coarse = feedback?.select(id, sums, grid, carriesSquares(step)) ?? null;
    feedback?.settle(id, true);
    return coarse;
  };

  const results = new Map<number, { readonly result: Contribution; readonly coarse: Coarse | null }>();
  for (let event = events.shift(); event !== undefined; event = events.shift()) {
    for (const effect of advance(round, event)) {
      time += 1;
      if (effect.type === "assign") {
        const { client, lease } = effect;
        const result = await compute(lease);
        results.set(lease.id, { result, coarse: lease.work === "train" ? leaveOut(client, lease, result.sums) : null });
        events.push({ type: "result", time, client, lease: lease.id, version: lease.version, step: lease.step });
      } else if (effect.type === "accept") {
        const { id, from, to, work } = effect.lease;
        const computed = results.get(id);
        if (computed === undefined) throw new Error(`lease ${id} was accepted and never computed`);
        results.delete(id);
        const { result, coarse } = computed;
        const squares = coarse === null || coarse.squares.length === 0 ? null : fromBfloat16(coarse.squares);
        const samples = (to - from) * plan.microBatch;
        aggregate.add({ ...result, squares, microBatches: to - from, samples });
        if (work === "train") {
          const sums = encodeSums(result.sums, codec, coarse?.unit);
          program.sent?.(effect.lease, sums, squares?.length ?? 0);
          shard.add([sums], to - from);
        }
      } else if (effect.type === "complete") {
        version += 1;
        let done = effect.step;
        if (effect.work === "calibrate") envelope = createEnvelope(aggregate.maxima) as Uint8Array<ArrayBuffer>;
        else {
          losses.push(aggregate.means()?.loss ?? Number.NaN);
          const { weight, maxima, squares } = aggregate;
          await shard.prepare(effect.step, { weight, maxima, ...(squares && { squares }) });
          done = await shard.commit(effect.step, { scale: 1, optimizers: [optimizer] });
          program.changed?.(shard.change());
          envelope = advanceEnvelope(envelope, aggregate.maxima, done) as Uint8Array<ArrayBuffer>;
        }
        aggregate.reset();
        shard.begin(announce(envelope));
        const stage = done === plan.totalSteps ? "done" : "train";
        events.push({ type: "committed", time, stage, step: done, version, ahead: [] });
      } else if (effect.type === "broadcast") events.push(...readies());
    }
  }
  await engine.dispose();
  program.finished?.(shard.measured());
  return losses;
}
