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

/** Samples a millisecond, after a first shard that only warms up. Throws whatever the engine throws. */
export async function measureSpeed(engine: GradientEngine, options: EngineOptions): Promise<number> {
  const microBatch = syntheticMicroBatch(options);
  const task: ShardTask = { work: "calibrate", step: 0, magnitudeBits: 0, exponents: new Uint8Array(0) };
  const shard = async (microBatches: number): Promise<void> => {
    engine.begin(task);
    for (let index = 0; index < microBatches; index++) await engine.accumulate(microBatch);
    await engine.take();
  };
  await engine.setWeights(initialize(options.graph, options.seed));
  await shard(1);
  const start = performance.now();
  let done = 0;
  for (let count = 1; performance.now() - start < MEASURE_TIME; count = Math.min(count * 2, MOST_SHARDS)) {
    await shard(count);
    done += count;
  }
  return (done * options.microBatch) / (performance.now() - start);
}
