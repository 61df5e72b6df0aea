import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestCoordinator, type TestCoordinator } from "./coordinator.ts";
import { trainSteadily, trainWithChurn } from "./exactness.ts";

const STEPS = 60;
const BATCH = 256;
const SEED = 0;

describe("training over sockets into workerd is bit-identical (I1)", () => {
  let coordinator: TestCoordinator;

  beforeAll(async () => {
    coordinator = await startTestCoordinator();
  });
  afterAll(() => coordinator?.stop());

  it("with 1, 2 and 5 WASM volunteers, and with volunteers that are killed, rejoin and lag", async () => {
    const one = await trainSteadily(coordinator, SEED, STEPS, 1);
    expect(one.weightsHash).toMatch(/^[0-9a-f]{64}$/);
    expect(one.samples).toEqual(new Array(STEPS).fill(BATCH));
    for (const clients of [2, 5]) {
      const outcome = await trainSteadily(coordinator, SEED, STEPS, clients);
      expect(outcome.weightsHash, `${clients} volunteers`).toBe(one.weightsHash);
      expect(outcome.samples).toEqual(one.samples);
    }
    const churned = await trainWithChurn(coordinator, SEED, STEPS, (line) => console.log(line));
    expect(churned.weightsHash, "with churn").toBe(one.weightsHash);
    expect(churned.samples).toEqual(one.samples);
  });

  it("and another seed gives other weights", async () => {
    const [a, b] = [await trainSteadily(coordinator, 1, 5, 2), await trainSteadily(coordinator, 2, 5, 2)];
    expect(a.weightsHash).not.toBe(b.weightsHash);
  });
});
