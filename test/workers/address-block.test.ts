import { describe, expect, it } from "vitest";
import { addressBlock } from "../../workers/address-block.ts";

describe("the block of an address", () => {
  const BLOCKS: readonly (readonly [address: string | undefined, block: string])[] = [
    ["203.0.113.77", "203.0.113.0/24"],
    ["203.0.113.200", "203.0.113.0/24"],
    ["203.0.114.77", "203.0.114.0/24"],
    ["::ffff:203.0.113.77", "203.0.113.0/24"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"],
    ["2001:DB8:1:ffff::1", "2001:db8:1::/48"],
    ["2001:db8::1", "2001:db8:0::/48"],
    ["::1", "0:0:0::/48"],
    ["", ""],
    [undefined, ""],
    ["somewhere", ""],
    ["1:2:3", ""],
    ["12345::1", ""],
    ["1.2.3", ""],
  ];
  for (const [address, block] of BLOCKS) {
    it(`${address ?? "none"} is ${block === "" ? "none" : block}`, () => {
      expect(addressBlock(address)).toBe(block);
    });
  }
});
