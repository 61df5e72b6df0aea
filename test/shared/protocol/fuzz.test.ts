import { describe, expect, it } from "vitest";
import { DECODERS, WireFuzz } from "../../fuzz/wire.ts";

const CASES = 300;
const SEED = 20261126;

describe("mutated bytes off the wire are read or refused with an error that says why, by the decoder of", () => {
  for (const [name, { share }] of Object.entries(DECODERS)) {
    it(name, () => {
      const fuzz = new WireFuzz(name, SEED);
      fuzz.run(CASES * share);
      const { accepted, refused, behaviours } = fuzz.outcome;
      console.log(`${name}: ${accepted} accepted, ${refused} refused in ${behaviours.size} ways, seed ${SEED}`);
      expect(refused).toBeGreaterThan(accepted / 10);
      // What fails the first check alone tests nothing behind it.
      expect(behaviours.size).toBeGreaterThan(4);
      expect(accepted).toBeGreaterThan(0);
    });
  }
});
