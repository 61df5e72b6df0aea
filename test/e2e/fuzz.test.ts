import { expect, it } from "vitest";
import { attack } from "../fuzz/live.ts";

it("a session under attack over real sockets ends as without it, and accepts nothing that was forged", async () => {
  const told = await attack({ seed: 20261126, hostile: 3_000, forged: 40 });
  console.log(told);
  expect(told).toContain("0 errors inside, nothing forged accepted");
});
