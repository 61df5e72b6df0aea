/**
 * One training of 20 clients, 4 of which may lie: gradients by hand, and from there on what a session has: the grid, integer rows,
 * the aggregators, and Adam in the WASM kernels. A client answers one lease of 100 samples a step.
 */

import { readFileSync } from "node:fs";
import { StepRows } from "../../coordinator/aggregate/index.ts";
import { createKernels, initialStates, LocalParameterShard, updateRule } from "../../coordinator/optim/index.ts";
import {
  accumulateFixed,
  advanceEnvelope,
  announce,
  blockCount,
  createEnvelope,
  gridScale,
  magnitudeBits,
  measureExponents,
} from "../../shared/codec/index.ts";
import { initialize, parameterLength } from "../../shared/graph/index.ts";
import { optim } from "../../shared/nn/index.ts";
import { sampleIndex } from "../../shared/random/index.ts";
import { type Aggregation, robustOf } from "../../shared/session/aggregation.ts";
import { valuesOf } from "../harness/mnist.ts";
import { ATTACKS, type Attack, type AttackName } from "./attacks.ts";
import { Network, PIXELS, perceptron } from "./network.ts";

export const CLIENTS = 20;
export const LIARS = 4;
export const SAMPLES = 100;

export interface Trial {
  readonly aggregation: Aggregation;
  /** Null: the liars are as honest as the others. */
  readonly attack: AttackName | null;
  readonly strength: number;
  /** Whether an honest client has pictures of one or two digits only. */
  readonly isSkewed: boolean;
  readonly hidden: readonly number[];
  readonly steps: number;
  readonly seed: number;
  readonly lr: number;
}

const MODULE = new WebAssembly.Module(readFileSync(new URL("../../coordinator/optim/kernels.wasm", import.meta.url)));
const IMAGES = valuesOf("images");
const LABELS = valuesOf("labels");

/** The pictures by digit: honest client i of a skewed training has the i-th of 16 equal parts. */
const BY_DIGIT = Uint32Array.from(LABELS.keys()).sort((one, other) => LABELS[one] - LABELS[other]);

const UNIT = 24n;

/** Test accuracy after the last step. */
export function train({ aggregation, attack, strength, isSkewed, hidden, steps, seed, lr }: Trial): number {
  const graph = perceptron(hidden);
  const network = new Network(graph);
  const parameters = parameterLength(graph);
  const blocks = blockCount(parameters);
  const momentum = robustOf(aggregation)?.momentum ?? 0;
  const optimizer = optim.adam({ lr, betas: [momentum > 0 ? 0 : 0.9, 0.999] });
  const rule = updateRule({ graph, optimizer, aggregation });
  const bits = magnitudeBits("fixed32", CLIENTS);
  const largest = 2 ** bits - 1;
  const shard = new LocalParameterShard({
    kernels: createKernels(MODULE, parameters, rule.states),
    rule,
    codec: "fixed32",
    bits,
    microBatches: CLIENTS,
    log: { append: () => {} },
  });
  const first = initialize(graph, seed);
  const kept = { weights: first, ...initialStates({ graph, optimizer, aggregation }, first) };
  for (const [name, values] of Object.entries(kept)) shard.snapshot()[name].set(values);

  const robust = robustOf(aggregation);
  const rows = robust === null ? null : new StepRows({ aggregation: robust, parameters, most: CLIENTS, seed });
  const gradients = Array.from({ length: CLIENTS }, () => new Float32Array(parameters));
  const sums = new Int32Array(parameters);
  /** What the coordinator's averages of each client will be, where it keeps them. */
  const averages = gradients.map(() => new Float32Array(parameters));
  const seen = gradients.map(() => new Float32Array(parameters));
  const lies: Attack | null = attack === null ? null : ATTACKS[attack];
  const samples = (step: number, client: number): Generator<number> => samplesOf(isSkewed, seed, step, client);

  const computeAll = (step: number): void => {
    for (const [client, gradient] of gradients.entries()) {
      const flips = client < LIARS && lies?.flipsLabels === true;
      gradient.fill(0);
      for (const sample of samples(step, client)) {
        const label = flips ? 9 - LABELS[sample] : LABELS[sample];
        network.addGradient(shard.weights(), pixelsOf(sample), label, gradient);
      }
    }
  };

  computeAll(0);
  const calibrated = new Uint8Array(blocks);
  for (const gradient of gradients) measureExponents(gradient, calibrated);
  let envelope: Uint8Array = createEnvelope(calibrated);
  for (let step = 0; step < steps; step++) {
    const announced = announce(envelope);
    shard.begin(announced);
    const scales = Float64Array.from(announced, (exponent) => gridScale(bits, exponent));
    if (step > 0) computeAll(step);
    const correction = 1 - momentum ** (step + 1);
    for (const [client, gradient] of gradients.entries()) {
      const [average, row] = [averages[client], seen[client]];
      for (let at = 0; at < parameters; at++) {
        row[at] = (momentum * average[at] + (1 - momentum) * gradient[at]) / correction;
        if (client >= LIARS || lies === null) average[at] = row[at] * correction;
      }
    }
    const honest = seen.slice(LIARS);
    const spread = lies === null ? null : spreadOf(honest, parameters);
    const maxima = new Uint8Array(blocks);
    const all = new Uint8Array(blocks);
    for (const [client, gradient] of gradients.entries()) {
      sums.fill(0);
      maxima.fill(0);
      if (client < LIARS && lies !== null && spread !== null) {
        const sight = { ...spread, own: seen[client], step, liar: client };
        const average = averages[client];
        for (let at = 0; at < parameters; at++) {
          // What makes its average be what it wants to be seen as.
          const wanted = lies.value(sight, strength, at) * correction;
          gradient[at] = (wanted - momentum * average[at]) / (1 - momentum);
          average[at] = wanted;
          // A sum beyond its lease's bound would be refused.
          const sum = Math.round(gradient[at] * scales[at >> 8]);
          sums[at] = Math.min(Math.max(sum, -largest), largest);
        }
        measureExponents(gradient, maxima);
      } else accumulateFixed(gradient, announced, bits, sums, maxima);
      const weight = BigInt(SAMPLES) << UNIT;
      // The widest bound there is: a coordinator would refuse what is beyond that of one micro-batch.
      if (rows === null) shard.add([new Uint8Array(sums.buffer)], Math.floor((2 ** 31 - 1) / (2 ** bits - 1)));
      else rows.add({ client: `${client}`, from: client, weight, maxima }, sums);
      for (const [block, exponent] of maxima.entries()) all[block] = Math.max(all[block], exponent);
    }
    const weight = BigInt(SAMPLES * CLIENTS) << UNIT;
    if (rows !== null) {
      shard.replace((target, { units, center }) => rows.aggregate(step, { units, weight, center }, target));
      rows.maxima(all);
      rows.reset();
    }
    // Synchronous in this process: what they return is settled already.
    void shard.prepare(step, { weight, maxima: all });
    void shard.commit(step, {
      scale: 1,
      optimizers: [{ ...optimizer, lr: lr * Math.min(1, (2 * (steps - step)) / steps) }],
    });
    envelope = advanceEnvelope(envelope, all, step + 1);
  }
  return network.accuracy(shard.weights(), valuesOf("testImages"), valuesOf("testLabels"));
}

const pixelsOf = (sample: number): Uint8Array => IMAGES.subarray(sample * PIXELS, (sample + 1) * PIXELS);

/** Liars draw from all pictures; an honest client of a skewed training from its own part. */
function* samplesOf(isSkewed: boolean, seed: number, step: number, client: number): Generator<number> {
  const { length } = LABELS;
  if (isSkewed && client >= LIARS) {
    const part = Math.floor(length / (CLIENTS - LIARS));
    for (let at = 0; at < SAMPLES; at++) {
      const position = step * SAMPLES + at;
      const place = sampleIndex(seed + client, Math.floor(position / part), part, position % part);
      yield BY_DIGIT[(client - LIARS) * part + place];
    }
    return;
  }
  for (let at = 0; at < SAMPLES; at++) {
    const position = (step * CLIENTS + client) * SAMPLES + at;
    yield sampleIndex(seed, Math.floor(position / length), length, position % length);
  }
}

function spreadOf(rows: readonly Float32Array[], length: number): { mean: Float32Array; deviation: Float32Array } {
  const mean = new Float32Array(length);
  const deviation = new Float32Array(length);
  for (let at = 0; at < length; at++) {
    let [sum, squares] = [0, 0];
    for (const row of rows) {
      sum += row[at];
      squares += row[at] * row[at];
    }
    mean[at] = sum / rows.length;
    deviation[at] = Math.sqrt(Math.max(0, squares / rows.length - mean[at] ** 2));
  }
  return { mean, deviation };
}
