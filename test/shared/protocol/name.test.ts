import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { publicName } from "../../../shared/protocol/name.ts";

describe("a public name", () => {
  it.each([
    ["Ada Lovelace", "Ada Lovelace"],
    ["  two\t words \r\n ", "two words"],
    ["\u001b[31mred\u0007", "[31mred"],
    ["\u202Eevil\u202C \u2066x\u2069", "evil x"],
    ["left\u200Eright\u200F\u061C", "leftright"],
    ["a\u0000b\u0085c\u2028d", "ab c d"],
    ["\uD800half", "half"],
    ["Z\u0300\u0301\u0302\u0303\u0304\u0305", "Z\u0300\u0301\u0302"],
    ["\u3164\u200B\uFEFF", ""],
    ["نیم‌فاصله", "نیم‌فاصله"], // the joiner is part of how Persian is written
    ["👩‍🔬", "👩‍🔬"],
    ["<b>bold</b>", "<b>bold</b>"], // text is not markup: whoever shows it escapes it
    ["x".repeat(1_000_000), "x".repeat(40)],
    ["😀".repeat(50), "😀".repeat(40)],
  ])("%j is %j", (text, expected) => {
    expect(publicName(text)).toBe(expected);
  });

  it("is short, on one line, in order from left to right, and the same when cleaned again", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
        const name = publicName(text);
        expect([...name].length).toBeLessThanOrEqual(40);
        expect(name).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202A-\u202E\u2066-\u2069\u200E\u200F\u061C]/u);
        expect(name).toBe(name.trim());
        expect(publicName(name)).toBe(name);
      }),
    );
  });
});
