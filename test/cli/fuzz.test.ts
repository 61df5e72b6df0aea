import { describe, expect, it } from "vitest";
import { fuzz, SUBJECTS } from "../fuzz/readers.ts";

const CASES = 1_500;
const SEED = 20261126;

describe("a mutated file is read or refused with an error that says why, by the reader of", () => {
  for (const name of Object.keys(SUBJECTS)) {
    it(name, () => {
      const { read, refused } = fuzz(name, SEED, 0, CASES);
      console.log(`${name}: ${read} read, ${refused} refused, seed ${SEED}`);
      expect(read + refused).toBe(CASES);
      // Mutations that nothing survives would test the first check alone.
      expect(refused).toBeGreaterThan(CASES / 20);
    });
  }
});
