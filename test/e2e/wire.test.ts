/** Sessions whose gradients and weights travel in few bits, by real volunteers over real sockets. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mnistSession, startTestCoordinator, type TestCoordinator, untilDone } from "./coordinator.ts";
import { nodeFleet } from "./fleets.ts";

const STEPS = 80;

describe("the largest sums up and changes down", () => {
  let coordinator: TestCoordinator;

  beforeAll(async () => {
    coordinator = await startTestCoordinator();
  });
  afterAll(() => coordinator?.stop());

  it("train with volunteers of whom one is killed and another joins late, and end with the weights that they measured", async () => {
    const { api, url } = coordinator;
    const definition = mnistSession({ codec: "sparse20", downlink: "delta", maxSteps: STEPS });
    const { id } = await api.createSession(definition);
    const link = `${url}/s/${id}`;
    const stepReached = async (step: number): Promise<void> => {
      while ((await api.readSession(id)).progress.step < step) await new Promise((resolve) => setTimeout(resolve, 50));
    };
    const first = await nodeFleet.start(link, "first");
    const second = await nodeFleet.start(link, "second");
    await stepReached(20);
    await first.kill();
    await stepReached(40);
    const third = await nodeFleet.start(link, "third");
    const { steps, evaluations, result } = await untilDone(api, id);
    await Promise.all([second.ended, third.ended]);
    expect(steps.map(({ samples }) => samples)).toEqual(new Array(STEPS).fill(256));
    const losses = steps.map(({ loss }) => loss ?? Number.NaN);
    expect(losses[0]).toBeGreaterThan(2);
    expect(losses.slice(-10).reduce((sum, loss) => sum + loss, 0) / 10).toBeLessThan(1);
    expect(evaluations.map(({ work }) => work)).toEqual(["validate", "test"]);
    // One evaluation, the last: what it measured is what is best, and what the session ends with.
    expect(result?.bestHash).toBe(result?.weightsHash);
  });
});
