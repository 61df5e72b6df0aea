import { expect, it } from "vitest";
import { hasPassed } from "../../shared/clock.ts";

it("tells how long ago something was, and takes it for long ago by a clock that was set back", () => {
  expect(hasPassed(1_000, 500, 1_499)).toBe(false);
  expect(hasPassed(1_000, 500, 1_500)).toBe(true);
  expect(hasPassed(1_000, 500, 1_000)).toBe(false);
  expect(hasPassed(1_000, 500, 999)).toBe(true);
});
