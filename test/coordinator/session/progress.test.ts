import { expect, it } from "vitest";
import { progressInterval } from "../../../coordinator/session/progress.ts";

it("goes out four times a second to few, and 500 times a second in all to many", () => {
  for (const clients of [0, 1, 125]) expect(progressInterval(clients)).toBe(250);
  for (const clients of [126, 256, 2_256]) expect((clients * 1_000) / progressInterval(clients)).toBe(500);
});
