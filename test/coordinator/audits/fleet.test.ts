/** A short version of `npm run audits`. */

import { describe, expect, it } from "vitest";
import { agree, difference, gradientDistance } from "../../../coordinator/audit/index.ts";
import { realPairs } from "../../parity/pairs.ts";
import {
  CHEATS,
  collusion,
  honestAudits,
  hunt,
  mostBytes,
  overhead,
  percentile99,
  SHAPES,
  SLEEPS,
} from "./experiment.ts";

describe("audits in fleets", () => {
  for (const cheat of CHEATS) {
    it(`ban a cheater of the kind ${cheat} before its 30th accepted shard, and nobody else`, () => {
      const { shards, innocents } = hunt(cheat, 20, 0, true);
      expect(percentile99(shards)).toBeLessThan(30);
      expect(innocents).toBe(0);
    });
  }

  it("find a sleeper after it turns", () => {
    const { shards, innocents } = hunt("scaled", 10, SLEEPS, true);
    expect(shards[5]).toBeLessThan(30);
    expect(shards.at(-1)).toBeLessThan(120);
    expect(innocents).toBe(0);
  });

  it("ban four of twenty who send the same, and nobody else", () => {
    for (const isProven of [true, false]) expect(collusion(4, 8, isProven)).toEqual({ liars: 4, honest: 0 });
  });

  it("ban no honest client, half of them modelled GPUs", () => {
    const { compared, banned } = honestAudits(5_000);
    expect(compared).toBeGreaterThanOrEqual(5_000);
    expect(banned).toBe(0);
  });

  it("tolerate what a real WebGPU engine computes otherwise than WASM, and find WASM the same", async () => {
    let most = 0;
    for await (const { wasm, gpu, again } of realPairs(60)) {
      expect(agree(wasm, gpu)).toBe(true);
      expect(difference(wasm, again)).toBe(0);
      // One in thousands may be further apart, by a gate; these are always the same ones.
      most = Math.max(most, gradientDistance(wasm, gpu));
    }
    expect(most).toBeLessThan(1e-5);
  });

  it.each(SHAPES)(
    "of %i clients at %i micro-batches compute less than a tenth more and send less than a hundredth more",
    (...shape) => {
      const { clients, microBatches, compute, bytes, packedBytes } = overhead(shape, 300);
      expect(compute).toBeLessThanOrEqual(0.1);
      expect(packedBytes).toBeLessThanOrEqual(0.01);
      expect(bytes).toBeLessThanOrEqual(mostBytes(clients, microBatches));
    },
  );
});
