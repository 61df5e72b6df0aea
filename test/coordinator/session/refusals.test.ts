import { expect, it } from "vitest";
import { Refusals } from "../../../coordinator/session/refusals.ts";

it("refusals are counted by code, and told together at most every ten seconds; what is nobody's fault is neither", () => {
  const refusals = new Refusals();
  refusals.count("bad-frame");
  refusals.count("finished");
  expect(refusals.take(100_000)).toBe("1 bad-frame");
  refusals.count("bad-frame");
  refusals.count("bad-message");
  refusals.count("bad-message");
  expect(refusals.take(109_999)).toBeNull();
  expect(refusals.take(110_000)).toBe("1 bad-frame, 2 bad-message");
  expect(refusals.take(200_000)).toBeNull();
  expect(refusals.counts).toEqual({ "bad-frame": 2, "bad-message": 2 });
});
