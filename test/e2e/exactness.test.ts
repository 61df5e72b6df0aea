import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestCoordinator, type TestCoordinator } from "./coordinator.ts";
import { type Run, trainSteadily, trainWithChurn } from "./exactness.ts";
import { nodeFleet } from "./fleets.ts";

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
    const run: Run = { coordinator, fleet: nodeFleet, seed: SEED, steps: STEPS, lateResults: 1 };
    const one = await trainSteadily(run, 1);
    expect(one.weightsHash).toMatch(/^[0-9a-f]{64}$/);
    expect(one.samples).toEqual(new Array(STEPS).fill(BATCH));
    for (const clients of [2, 5]) {
      const outcome = await trainSteadily(run, clients);
      expect(outcome.weightsHash, `${clients} volunteers`).toBe(one.weightsHash);
      expect(outcome.samples).toEqual(one.samples);
    }
    const churned = await trainWithChurn(run, one.took, (line) => console.log(line));
    expect(churned.weightsHash, "with churn").toBe(one.weightsHash);
    expect(churned.samples).toEqual(one.samples);
    expect(churned.kills).toBeGreaterThan(0);
    expect(churned.late).toBeGreaterThan(0);
  });

  it("with packed sums, where leases of every size take other widths, and changes that come down", async () => {
    const wire = { codec: "packed8", downlink: "delta" } as const;
    const run: Run = { coordinator, fleet: nodeFleet, seed: SEED, steps: STEPS, lateResults: 1, ...wire };
    const one = await trainSteadily(run, 1);
    expect((await trainSteadily(run, 3)).weightsHash).toBe(one.weightsHash);
    const churned = await trainWithChurn(run, one.took, (line) => console.log(line));
    expect(churned.weightsHash, "with churn").toBe(one.weightsHash);
    expect(churned.samples).toEqual(one.samples);
  });

  it("and another seed gives other weights", async () => {
    const run = { coordinator, fleet: nodeFleet, steps: 5 };
    const [a, b] = [await trainSteadily({ ...run, seed: 1 }, 2), await trainSteadily({ ...run, seed: 2 }, 2)];
    expect(a.weightsHash).not.toBe(b.weightsHash);
  });
});
