/** Measures an engine on the session's own graph, with made-up samples, for a fraction of a second. */

import { initialize, sizeOf } from "../../shared/graph/index.ts";
import type { EngineOptions, GradientEngine, MicroBatch, ShardTask, Tensor } from "./engine.ts";

const MEASURE_TIME = 250; // milliseconds
const MOST_SHARDS = 64;

/** A micro-batch of small numbers; what they are does not change how long it takes. */
function syntheticMicroBatch({ graph, microBatch }: EngineOptions): MicroBatch {
  const inputs: Record<string, Tensor> = {};
  for (const { name, dtype, shape, role } of graph.inputs) {
    const size = sizeOf(shape.map((dimension) => (dimension === "N" ? microBatch : dimension)));
    if (dtype === "int32") inputs[name] = new Int32Array(size);
    else inputs[name] = Float32Array.from({ length: size }, (_, at) => (role === "weight" ? 1 : (at % 7) / 7));
  }
  return { inputs, position: 0 };
}

/**
 * Samples a millisecond in its best shard, after a first one that only warms up: whatever else the machine does while
 * engines are compared makes shards slower and never faster. Throws whatever the engine throws.
 */
export async function measureSpeed(engine: GradientEngine, options: EngineOptions): Promise<number> {
  const microBatch = syntheticMicroBatch(options);
  const task: ShardTask = {
    work: "calibrate",
    step: 0,
    microBatches: 1,
    magnitudeBits: 0,
    exponents: new Uint8Array(0),
  };
  /** Milliseconds. */
  const time = async (microBatches: number): Promise<number> => {
    const start = performance.now();
    engine.begin(task);
    for (let index = 0; index < microBatches; index++) await engine.accumulate(microBatch);
    await engine.take();
    return performance.now() - start;
  };
  await engine.setWeights(initialize(options.graph, options.seed));
  await time(1);
  const end = performance.now() + MEASURE_TIME;
  let best = 0;
  for (let count = 1; performance.now() < end; count = Math.min(count * 2, MOST_SHARDS)) {
    best = Math.max(best, (count * options.microBatch) / (await time(count)));
  }
  return best;
}
