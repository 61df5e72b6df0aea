import { describe, expect, it } from "vitest";
import { createWasmEngine } from "../../client/engine/node/engine.ts";
import { Turns } from "../../client/engine/onnx/turns.ts";
import { blockCount } from "../../shared/codec/index.ts";
import { differentiate, initialize, parameterLength } from "../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../shared/nn/index.ts";

const compute = (milliseconds: number): void => {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
};

describe("a thread that computes and has others to hear", () => {
  it("lets them have their turn when it has computed for a while, and not before", async () => {
    let deferred = 0;
    const turns = new Turns((callback) => {
      deferred += 1;
      setImmediate(callback);
    });
    turns.begin();
    await turns.pass();
    expect(deferred).toBe(0);
    compute(12);
    await turns.pass();
    expect(deferred).toBe(1);
    await turns.pass();
    expect(deferred).toBe(1);
  });

  it("begins anew with each word that it hears", async () => {
    const turns = new Turns(() => expect.unreachable());
    for (let heard = 0; heard < 3; heard++) {
      turns.begin();
      compute(4);
      await turns.pass();
    }
  });

  const MICRO = 32;
  const MOST = 20_000;
  const graph = buildGraph({
    model: nn.sequential(nn.linear(64, 128), nn.relu(), nn.linear(128, 10)),
    input: [64],
    loss: loss.crossEntropy(),
  });
  const options = { graph: differentiate(graph, MICRO), microBatch: MICRO, seed: 0 };
  const inputs = { x: new Float32Array(MICRO * 64), y: new Int32Array(MICRO), weight: new Float32Array(MICRO).fill(1) };

  it("hears of a pause in the middle of a long shard", async () => {
    const engine = await createWasmEngine(options, 1);
    await engine.setWeights(initialize(graph, 0));
    let isPaused = false;
    setTimeout(() => {
      isPaused = true;
    });
    const exponents = new Uint8Array(blockCount(parameterLength(graph)));
    engine.begin({ work: "calibrate", step: 0, microBatches: MOST, magnitudeBits: 0, exponents });
    let computed = 0;
    for (; computed < MOST && !isPaused; computed++) await engine.accumulate({ inputs, position: 0 });
    await engine.take();
    expect(isPaused).toBe(true);
    expect(computed).toBeGreaterThan(0);
    await engine.dispose();
  });

  it("hears of it in the middle of a long prediction", async () => {
    const engine = await createWasmEngine(options, 1);
    await engine.setWeights(initialize(graph, 0));
    const samples = MICRO * 4_000;
    const x = new Float32Array(samples * 64);
    await engine.predict({ x: x.subarray(0, 64) }, 1);
    let isPaused = false;
    const predicted = engine.predict({ x }, samples).then(() => isPaused);
    setTimeout(() => {
      isPaused = true;
    });
    expect(await predicted).toBe(true);
    await engine.dispose();
  });
});
