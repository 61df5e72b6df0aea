import { describe, expect, it } from "vitest";
import { Pace } from "../../client/engine/webgpu/pace.ts";
import { differentiate, initialize } from "../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../shared/nn/index.ts";
import { openDevice } from "./webgpu-device.ts";
import { noCounts, numbers, runOnGpu } from "./webgpu-run.ts";

const wait = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A pace that has seen this much work take so long. */
async function measured(work: number, milliseconds: number): Promise<Pace> {
  const pace = new Pace();
  pace.started(work, wait(milliseconds));
  await pace.idle();
  return pace;
}

describe("the pace of submits", () => {
  it("is careful before anything was measured: a slow adapter gets small pieces", () => {
    expect(new Pace().submitWork).toBeLessThanOrEqual(1e8);
  });

  it("keeps a submit well under 100 ms at the speed that was measured", async () => {
    const slow = await measured(1e6, 60);
    expect(slow.estimate(slow.submitWork)).toBeLessThanOrEqual(60);
    expect(slow.submitWork).toBeLessThan(1.2e6);
    const fast = await measured(1e9, 5);
    expect(fast.submitWork).toBeGreaterThan(1e9);
  });

  it("follows an adapter that becomes slower", async () => {
    const pace = await measured(1e8, 10);
    const before = pace.submitWork;
    for (let count = 0; count < 4; count++) {
      pace.started(1e6, wait(10));
      await pace.idle();
    }
    expect(pace.submitWork).toBeLessThan(before / 2);
  });

  it("queues little on slow adapters, and waits for room", async () => {
    const pace = await measured(1e6, 60);
    let done = 0;
    for (let count = 0; count < 2; count++) {
      pace.started(
        1e6,
        wait(30).then(() => done++),
      );
    }
    await pace.room(1e6);
    expect(done).toBeGreaterThan(0);
  });

  it("reports what failed to whoever waits, and to nobody else", async () => {
    const pace = new Pace();
    pace.started(1, Promise.reject(new Error("gone")));
    await expect(pace.idle()).rejects.toThrow("gone");
  });
});

describe("a micro-batch that is cut into several submits", () => {
  it("gives the same bits", async () => {
    const model = nn.sequential(nn.linear(12, 16), nn.tanh(), nn.linear(16, 4));
    const graph = differentiate(buildGraph({ model, loss: loss.mse(), input: [12] }), 8);
    const inputs = { x: numbers(1, 96), y: numbers(2, 32), weight: new Float32Array(8).fill(1) };
    const options = { microBatch: 8, inputs, weights: initialize(graph, 3) };
    const wanted = graph.gradients.filter((id) => id !== null);
    const gpu = await openDevice();
    const [whole, cut] = [noCounts(), noCounts()];
    const expected = await runOnGpu(gpu, graph, wanted, { ...options, counters: whole });
    expect(await runOnGpu(gpu, graph, wanted, { ...options, counters: cut, submitWork: 1 })).toEqual(expected);
    expect(whole.submits).toBe(1);
    expect(cut.submits).toBe(cut.dispatches);
  });
});
