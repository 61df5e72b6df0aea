import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../cli/root.ts";
import { readTokenizer } from "../../cli/tokenizer.ts";
import { bytesCodec, charactersCodec, type TextCodec } from "../../client/text/codec.ts";
import { TextStream } from "../../client/text/stream.ts";

const TEXT =
  "Call me Ishmael. — “Años” 🐋🐋 said\n the  whale’s naïve 鯨; and so on, for longer than is remembered at once. 🐋";

const tokenizer = readTokenizer(readFileSync(join(packageRoot, "examples/data/moby-dick.tokenizer.json")), "BPE");

/** The pieces that come out, one a token. */
function pieces(codec: TextCodec, tokens: readonly number[], before: readonly number[] = []): string[] {
  const stream = new TextStream(codec, before);
  return [...tokens.map((token) => stream.push(token)), stream.end()];
}

describe("text of tokens that come one by one", () => {
  it.each<[string, TextCodec]>([
    ["bytes", bytesCodec],
    ["characters", charactersCodec([...new Set(TEXT)].join(""))],
    ["a tokenizer", tokenizer],
  ])("is the text of all of them: %s", (_, codec) => {
    const tokens = codec.encode(TEXT);
    const whole = codec.decode(tokens);
    expect(pieces(codec, tokens).join("")).toBe(whole);
    // After a beginning, what comes is what the beginning lacks.
    const before = tokens.slice(0, 5);
    expect(codec.decode(before) + pieces(codec, tokens.slice(5), before).join("")).toBe(whole);
  });

  it("waits until a character is whole", () => {
    expect(pieces(bytesCodec, [...new TextEncoder().encode("a🐋b")])).toEqual(["a", "", "", "", "🐋", "b", ""]);
  });

  it("shows bytes that never become a character once that is certain, and those at the end", () => {
    expect(pieces(bytesCodec, [0x61, 0xff, 0x62])).toEqual(["a", "", "\ufffdb", ""]);
    expect(pieces(bytesCodec, [0x61, 0xf0, 0x9f])).toEqual(["a", "", "", "\ufffd"]);
  });
});
