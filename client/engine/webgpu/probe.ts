/**
 * Measures which variant (tuning.ts) of a session's largest products is the fastest on this adapter: when an engine is
 * created, for a fraction of a second, with buffers of its own. Results differ in their last bits only.
 *
 * What was measured is remembered by adapter and size. Software adapters are not probed: there, compiling one candidate takes
 * longer than several micro-batches, and large tiles in registers won by far (SwiftShader: 4.8 GFLOP/s against 0.8).
 */

import { IR_VERSION, type Node, type TrainingGraph } from "../../../shared/graph/ir.ts";
import { layoutOf } from "./layout.ts";
import { allocate } from "./memory.ts";
import { planProgram } from "./plan.ts";
import { type Counters, compile, type Program, run } from "./program.ts";
import {
  isVariantName,
  type Product,
  productKey,
  productWork,
  type Tuning,
  VARIANTS,
  type VariantName,
} from "./tuning.ts";

/** By `productKey`. */
export type Choices = Readonly<Record<string, VariantName>>;

/** Keeps what was measured of an adapter. It may fail quietly: then it is measured again. */
export interface VariantMemory {
  read(adapter: string): Promise<unknown>;
  write(adapter: string, choices: Choices): Promise<void>;
}

/** Until the page or the process ends. */
export function createVariantMemory(): VariantMemory {
  const held = new Map<string, Choices>();
  return {
    read: async (adapter) => held.get(adapter),
    write: async (adapter, choices) => void held.set(adapter, choices),
  };
}

/** Sizes that one adapter's memory holds; beyond them it starts anew. */
const MOST_REMEMBERED = 256;

/** Sizes that are measured: those with the most work, up to this many and to this part of all of it. */
const MOST_PROBED = 6;
const PART_PROBED = 0.9;

/** Milliseconds after which no further size is begun, and of one timing, so that what it takes to wait does not show. */
const BUDGET = 250;
const LONG_ENOUGH = 4;
const MOST_RUNS = 64;
const ROUNDS = 2;

/** What came out of storage, as far as it can be read. */
function choicesIn(held: unknown): Choices {
  if (typeof held !== "object" || held === null) return {};
  const entries = Object.entries(held).filter((entry): entry is [string, VariantName] => isVariantName(entry[1]));
  return entries.length > MOST_REMEMBERED ? {} : Object.fromEntries(entries);
}

/** The products that most of the work is in, each size once, the largest part first. */
function largest(products: readonly Product[]): Product[] {
  const shares = new Map<string, { product: Product; work: number }>();
  for (const product of products) {
    const share = shares.get(productKey(product)) ?? { product, work: 0 };
    share.work += productWork(product);
    shares.set(productKey(product), share);
  }
  const all = products.reduce((sum, product) => sum + productWork(product), 0);
  const chosen: Product[] = [];
  let covered = 0;
  for (const { product, work } of [...shares.values()].sort((a, b) => b.work - a.work)) {
    if (chosen.length === MOST_PROBED || covered >= PART_PROBED * all) break;
    chosen.push(product);
    covered += work;
  }
  return chosen;
}

/** A graph of nothing else. */
function graphOf({ batch, rows, inner, columns, transA, transB }: Product): TrainingGraph {
  const stack = batch > 1 ? [batch] : [];
  const shapes = [
    [...stack, ...(transA ? [inner, rows] : [rows, inner])],
    [...stack, ...(transB ? [columns, inner] : [inner, columns])],
  ];
  const inputs = shapes.map(
    (shape, index) => ({ name: `${index}`, dtype: "float32", shape, role: "feature" }) as const,
  );
  const nodes: Node[] = [];
  if (batch === 1) nodes.push({ op: "Gemm", inputs: [0, 1], attributes: { transA, transB } });
  else {
    const operands = [transA, transB].map((turned, operand) => {
      if (!turned) return operand;
      nodes.push({ op: "Transpose", inputs: [operand], attributes: { perm: [0, 2, 1] } });
      return 1 + nodes.length;
    });
    nodes.push({ op: "MatMul", inputs: operands, attributes: {} });
  }
  const last = 1 + nodes.length;
  const outputs = { prediction: last, loss: last, weight: last, metrics: {} };
  return { irVersion: IR_VERSION, inputs, parameters: [], nodes, outputs, gradients: [] };
}

async function fastest(device: GPUDevice, product: Product): Promise<VariantName | null> {
  const graph = graphOf(product);
  const layout = layoutOf(graph, 1);
  const plans = Object.entries(VARIANTS).map(([name, tuning]) => ({
    name: name as VariantName,
    plan: planProgram(graph, layout, tuning, [[graph.outputs.prediction, { kind: "keep" }]]),
  }));
  // Where a variant does not apply to these sizes it gives another one's program.
  const distinct = new Map(
    plans.map(({ name, plan }) => [plan.kernels.map(({ code }) => code).join(), { name, plan }]),
  );
  const arenaWords = Math.max(...plans.map(({ plan }) => plan.arenaWords));
  const memory = await allocate(device, layout, arenaWords, 0);
  const counters: Counters = { microBatches: 0, dispatches: 0, submits: 0, uploadedBytes: 0, readBytes: 0 };
  const time = async (program: Program, runs: number): Promise<number> => {
    const start = performance.now();
    for (let index = 0; index < runs; index++) run(device, program, Number.POSITIVE_INFINITY, counters);
    await device.queue.onSubmittedWorkDone();
    return performance.now() - start;
  };
  try {
    const candidates = await Promise.all(
      [...distinct.values()].map(async ({ name, plan }) => ({ name, program: await compile(device, memory, plan) })),
    );
    let best: { name: VariantName | null; time: number } = { name: null, time: Number.POSITIVE_INFINITY };
    for (const { name, program } of candidates) {
      let runs = 1;
      // The first run of a program may still be prepared for.
      await time(program, 1);
      while (runs < MOST_RUNS && (await time(program, runs)) < LONG_ENOUGH) runs *= 2;
      for (let round = 0; round < ROUNDS; round++) {
        const each = (await time(program, runs)) / runs;
        if (each < best.time) best = { name, time: each };
      }
    }
    return best.name;
  } finally {
    memory.destroy();
  }
}

/** Measures those of the largest products that the memory does not know. */
export async function probe(
  device: GPUDevice,
  adapter: string,
  products: readonly Product[],
  memory: VariantMemory,
): Promise<ReadonlyMap<string, Tuning>> {
  const known = choicesIn(await memory.read(adapter));
  const wanted = largest(products);
  const found: Record<string, VariantName> = {};
  const end = performance.now() + BUDGET;
  for (const product of wanted) {
    const key = productKey(product);
    if (known[key] !== undefined) continue;
    if (performance.now() >= end) break;
    const name = await fastest(device, product);
    if (name !== null) found[key] = name;
  }
  const all = { ...known, ...found };
  if (Object.keys(found).length > 0) await memory.write(adapter, all);
  return new Map(
    wanted.flatMap((product): [string, Tuning][] => {
      const name = all[productKey(product)];
      return name === undefined ? [] : [[productKey(product), VARIANTS[name]]];
    }),
  );
}
