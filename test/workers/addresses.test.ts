import { describe, expect, it } from "vitest";
import { blockOf } from "../../coordinator/session/addresses.ts";
import { JOIN_BURST, JOINS_PER_SECOND, JoinRate } from "../../workers/rate.ts";

describe("the block of an address", () => {
  it.each([
    ["203.0.113.7", "203.0.113"],
    ["203.0.113.250:4711", "203.0.113"],
    ["::ffff:203.0.113.9", "203.0.113"],
    ["[::ffff:203.0.113.9]:80", "203.0.113"],
    ["127.0.0.66", "127.0.0.66"],
    ["127.0.0.66:5000", "127.0.0.66"],
    ["2001:db8:0:1:aaaa::1", "2001:db8:0:1"],
    ["2001:0DB8:0:1::2", "2001:db8:0:1"],
    ["2001:db8::5", "2001:db8:0:0"],
    ["::1", "0:0:0:0"],
    ["[2001:db8::5]:443", "2001:db8:0:0"],
  ])("%s is of %s", (address, block) => {
    expect(blockOf(address)).toBe(block);
  });
});

describe("joins of one block", () => {
  it("are as many as the burst at once, and then so many a second", () => {
    const rate = new JoinRate();
    const taken = (address: string, at: number): number =>
      Array.from({ length: 10_000 }, () => rate.take(address, at)).filter(Boolean).length;
    expect(taken("203.0.113.7", 0)).toBe(JOIN_BURST);
    expect(taken("203.0.113.8", 0)).toBe(0);
    expect(taken("203.0.113.7", 1_000)).toBe(JOINS_PER_SECOND);
    expect(taken("203.0.114.7", 1_000)).toBe(JOIN_BURST);
    expect(taken("203.0.113.7", 3_600_000)).toBe(JOIN_BURST);
  });
});
