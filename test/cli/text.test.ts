import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { cutDataset, readSource } from "../../cli/dataset.ts";
import { snippet } from "../../cli/importers/imported.ts";
import { decodeText, importText, type VocabularySource } from "../../cli/importers/text.ts";
import { openVocabulary, readTokenizer } from "../../cli/tokenizer.ts";
import { bytesCodec, charactersCodec, VocabularyError } from "../../client/text/codec.ts";
import { parseManifest } from "../../shared/session/manifest.ts";
import { vocabularySize } from "../../shared/session/vocabulary.ts";

const folder = mkdtempSync(join(tmpdir(), "commonweight-text-"));
afterAll(() => rmSync(folder, { recursive: true }));

const MOBY = new URL("../../examples/data/moby-dick.txt", import.meta.url);
const TOKENIZER = new URL("../../examples/data/moby-dick.tokenizer.json", import.meta.url);

function write(name: string, content: string | Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
}

const read = (content: string | Uint8Array, vocabulary?: VocabularySource) =>
  importText({ file: write("t.txt", content), vocabulary });

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const characters = fc.string({ unit: "grapheme" });

describe("vocabularies", () => {
  it("of bytes give every text back", () => {
    fc.assert(
      fc.property(characters, (text) => {
        expect(bytesCodec.encode(text)).toEqual([...bytes(text)]);
        expect(bytesCodec.decode(bytesCodec.encode(text))).toBe(text);
      }),
    );
    expect(bytesCodec.decode([0xef, 0xbb, 0xbf, 0x41])).toBe("\ufeffA");
    expect(bytesCodec.decode([0x41, 0xe9, 0x41])).toBe("A\ufffdA");
  });

  it("of characters give every text of them back, a token for each code point", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ unit: "binary", minLength: 1, maxLength: 1 }), { minLength: 1 }),
        (all) => {
          const codec = charactersCodec(all.join(""));
          const tokens = all.map((_, token) => token).reverse();
          expect(codec.encode(all.join(""))).toEqual(all.map((_, token) => token));
          expect(codec.encode(codec.decode(tokens))).toEqual(tokens);
        },
      ),
    );
    expect(charactersCodec("a🐳b").encode("b🐳")).toEqual([2, 1]);
  });

  it("refuse a character that they lack, by name and place", () => {
    expect(() => charactersCodec("ab\n").encode("ab\nébé")).toThrow(
      new VocabularyError("unknown-character", 'character 3 is "é" (U+00E9), which is none of the vocabulary\'s 3'),
    );
    expect(() => charactersCodec("ab").encode("a🐳")).toThrow(/character 1 is "🐳" \(U\+1F433\)/);
  });

  it("refuse numbers that are no tokens", () => {
    const [tokenizer] = [readTokenizer(readFileSync(TOKENIZER), "t")];
    for (const codec of [bytesCodec, charactersCodec("ab"), tokenizer]) {
      for (const token of [-1, codec.size, 0.5, Number.NaN]) {
        expect(() => codec.decode([0, token])).toThrow(`token 1 is ${token}, expected 0 to ${codec.size - 1}`);
      }
      expect(codec.decode([])).toBe("");
      expect(codec.encode("")).toEqual([]);
    }
  });
});

describe("a text", () => {
  it("is a row a byte unless it is said otherwise, whatever the bytes are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 3, maxLength: 300 }), (content) => {
        const imported = read(content);
        expect(imported.content.rows[0]).toEqual(new Uint8Array(content));
        expect(imported.content).toMatchObject({
          columns: [{ name: "tokens", dtype: "uint8", shape: [] }],
          samples: content.length,
          vocabulary: { kind: "bytes" },
        });
      }),
      { numRuns: 50 },
    );
  });

  it("is a row a character, numbered in the order of the code points", () => {
    const { content, notes } = read("hello\n🐳 é", "characters");
    expect(content.vocabulary).toEqual({ kind: "characters", characters: "\n ehloé🐳" });
    expect([...content.rows[0]]).toEqual([3, 2, 4, 4, 5, 0, 7, 1, 6]);
    expect(notes).toEqual(['tokens: 8 characters "\\n ehloé🐳"']);
  });

  it("is stored in int32 where there are more than 256 characters", () => {
    const text = Array.from({ length: 300 }, (_, i) => String.fromCodePoint(0x4e00 + i)).join("");
    const { content } = read(text, "characters");
    expect(content.columns[0].dtype).toBe("int32");
    expect([...new Int32Array(content.rows[0].buffer)]).toEqual(Array.from({ length: 300 }, (_, i) => i));
  });

  it("can have the characters of another text, and is refused where it has others", () => {
    expect([...read("baab", { characters: "ab" }).content.rows[0]]).toEqual([1, 0, 0, 1]);
    expect(() => read("baabc", { characters: "ab" })).toThrow(/t\.txt: character 4 is "c" \(U\+0063\)/);
  });

  it("is cut into contiguous parts", () => {
    const file = write("ten.txt", "0123456789");
    const { content } = importText({ file, split: { train: 0.6, validation: 0.3, test: 0.1 } });
    expect(content.splits).toEqual({ train: [0, 6], validation: [6, 9], test: [9, 10] });
    expect(Buffer.from(content.rows[0]).toString()).toBe("0123456789");
  });

  it("is refused if it is empty, missing, or leaves nothing to train on", () => {
    for (const vocabulary of ["bytes", "characters"] as const) {
      expect(() => read("", vocabulary)).toThrow(/t\.txt is empty: there is nothing to train on/);
    }
    expect(() => importText({ file: join(folder, "none.txt") })).toThrow(/cannot read .*none\.txt/);
    expect(() => importText({ file: write("a.txt", "a"), split: { train: 0.1, test: 0.9 } })).toThrow(
      /leaves none to train on/,
    );
  });

  it("loses its byte order mark, unless it is pushed as bytes", () => {
    expect(read("\ufeffab", "characters").content.samples).toBe(2);
    expect(read("\ufeffab").content.samples).toBe(5);
  });

  it("is refused as characters where it is not UTF-8, with line and byte", () => {
    const cases: readonly (readonly [before: string, wrong: readonly number[]])[] = [
      ["", [0xff]],
      ["one\ntwo ", [0xe9]], // é in Latin-1
      ["\ufeffsigned\n", [0xe2, 0x82]], // cut short
      ["genuine \ufffd\n", [0xef, 0xbf]],
      ["high\n", [0xed, 0xa0, 0x80]], // half a surrogate pair
      ["long\n", [0xc0, 0xaf]],
    ];
    for (const [before, wrong] of cases) {
      const prefix = bytes(before);
      for (const after of ["", " and on"]) {
        const file = Uint8Array.from([...prefix, ...wrong, ...bytes(after)]);
        const line = before.split("\n").length;
        expect(() => decodeText(file, "l.txt")).toThrow(
          `l.txt:${line}: byte ${prefix.length} (0x${wrong[0].toString(16)}) is not UTF-8: save the file as UTF-8, or push it as bytes`,
        );
      }
      expect(decodeText(prefix, "l.txt")).toBe(before.replace("\ufeff", ""));
    }
    expect(() => read(Uint8Array.from([0x61, 0xe9]), "characters")).toThrow(/t\.txt:1: byte 1 \(0xe9\)/);
  });

  it("says how a session asks for it", () => {
    const imported = read("to be or not to be, that is the question".repeat(10), "characters");
    expect(snippet("hamlet", imported)).toEqual([
      'input: { x: { dtype: "int32", shape: [64] } },',
      'data: dataset("hamlet", { x: "tokens", y: { column: "tokens", shift: 1 }, window: 64, train: [0, 320], validation: [320, 360], test: [360, 400] }),',
      "// the model begins with nn.embedding(14, …) and ends in 14 outputs a token, with loss: loss.crossEntropy({ classAxis: -1 })",
    ]);
  });

  it("comes along with a session file, its paths relative", () => {
    write("poem.txt", "a rose is a rose");
    const source = { text: { file: "poem.txt", vocabulary: "characters", split: { train: 1 } } } as const;
    const { manifest, chunks } = cutDataset("rose", readSource("rose", source, folder));
    expect(parseManifest(JSON.parse(JSON.stringify(manifest)))).toEqual(manifest);
    expect(manifest.vocabulary).toEqual({ kind: "characters", characters: " aeiors" });
    expect(chunks).toHaveLength(1);
  });

  it("of Melville's has 83 characters", () => {
    const { content } = importText({ file: MOBY.pathname, vocabulary: "characters" });
    expect(content.samples).toBe(1_190_317);
    expect(vocabularySize(content.vocabulary!)).toBe(83);
    const { characters } = content.vocabulary as { characters: string };
    expect(charactersCodec(characters).decode([...content.rows[0]].slice(0, 22))).toBe("CHAPTER 1. Loomings.\n\n");
  });
});

interface Fixture {
  readonly cases: readonly { text: string; ids: number[]; decoded: string }[];
  readonly whole: { tokens: number; sum: number };
}
const FIXTURE: Fixture = JSON.parse(readFileSync(new URL("../fixtures/tokenizer.json", import.meta.url), "utf8"));

/** A BPE of words that were cut at spaces, as published examples are. */
const published = (vocab: readonly string[], merges: readonly string[], more: Readonly<Record<string, unknown>>) =>
  readTokenizer(
    bytes(
      JSON.stringify({
        version: "1.0",
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: { type: "WhitespaceSplit" },
        post_processor: null,
        decoder: null,
        model: { type: "BPE", vocab: Object.fromEntries(vocab.map((token, id) => [token, id])), merges, ...more },
      }),
    ),
    "published",
  );

describe("a tokenizer.json", () => {
  const codec = readTokenizer(readFileSync(TOKENIZER), "moby-dick.tokenizer.json");

  it("encodes and decodes as the reference implementation does (test/fixtures/tokenizer.py)", () => {
    for (const { text, ids, decoded } of FIXTURE.cases) {
      expect(codec.encode(text)).toEqual(ids);
      expect(codec.decode(ids)).toBe(decoded);
    }
  });

  it("does so with a whole novel", () => {
    const ids = codec.encode(readFileSync(MOBY, "utf8"));
    expect(ids).toHaveLength(FIXTURE.whole.tokens);
    expect(ids.reduce((sum, id, at) => sum + ((at % 1000) + 1) * id, 0)).toBe(FIXTURE.whole.sum);
  });

  it("of bytes gives every text back", () => {
    fc.assert(
      fc.property(characters, (text) => {
        expect(codec.decode(codec.encode(text))).toBe(text);
      }),
    );
  });

  it("splits words as in Sennrich, Haddow and Birch (arXiv 1508.07909, section 3.2)", () => {
    const sennrich = published(
      ["l", "o", "w", "e", "r", "s", "t", "n", "i", "d", "r</w>", "t</w>", "lo", "low", "er</w>"],
      ["l o", "lo w", "e r</w>"],
      { end_of_word_suffix: "</w>" },
    );
    // "the OOV 'lower' would be segmented into 'low er·'"
    expect(sennrich.encode("lower")).toEqual([13, 14]);
  });

  it("splits words as in Hugging Face's course (chapter 6.5), where some characters are unknown", () => {
    const vocab = ["b", "g", "h", "n", "p", "s", "u", "ug", "un", "hug", "[UNK]"];
    const course = published(vocab, ["u g", "u n", "h ug"], { unk_token: "[UNK]" });
    const split = (word: string): string[] => course.encode(word).map((token) => vocab[token]);
    expect(split("bug")).toEqual(["b", "ug"]);
    expect(split("mug")).toEqual(["[UNK]", "ug"]);
    expect(split("thug")).toEqual(["[UNK]", "hug"]);
    expect(split("unhug")).toEqual(["un", "hug"]);
  });

  it("is refused a text with something that it has no token for", () => {
    const words = published(["a", "b", "ab"], [], { type: "WordPiece", continuing_subword_prefix: "##" });
    expect(words.encode("ab b")).toEqual([2, 1]);
    expect(() => words.encode("ab c")).toThrow(
      "token 1 of the text is none of the vocabulary's 3, and the tokenizer has none for what is unknown",
    );
  });

  it("adds nothing that frames a text, and reads such tokens where they are written out", () => {
    const framed = readTokenizer(
      bytes(
        JSON.stringify({
          ...JSON.parse(readFileSync(TOKENIZER, "utf8")),
          added_tokens: [
            {
              id: 512,
              content: "<s>",
              single_word: false,
              lstrip: false,
              rstrip: false,
              normalized: false,
              special: true,
            },
          ],
          post_processor: {
            type: "TemplateProcessing",
            single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
            pair: [],
            special_tokens: { "<s>": { id: "<s>", ids: [512], tokens: ["<s>"] } },
          },
        }),
      ),
      "framed",
    );
    expect(framed.size).toBe(513);
    expect(framed.encode("Call me")).toEqual(codec.encode("Call me"));
    expect(framed.encode("Call<s> me")).toEqual([...codec.encode("Call"), 512, ...codec.encode(" me")]);
    expect(framed.decode([...codec.encode("Call"), 512])).toBe("Call<s>");
  });

  it("that drops what it does not know, or changes letters, is reported", () => {
    const lossy = JSON.parse(readFileSync(TOKENIZER, "utf8"));
    const tokenizer = write("lower.json", JSON.stringify({ ...lossy, normalizer: { type: "Lowercase" } }));
    expect(read("call me Ishmael", { tokenizer }).notes[1]).toBe(
      'the tokens do not give the text back: from character 8 on it is "Ishmael", they say "ishmael"',
    );
    expect(read("call me ishmael", { tokenizer }).notes).toHaveLength(1);
  });

  it("is refused unless it is one", () => {
    for (const content of ["", "no json", "null", "[]", "{}", '{"model":{}}', '{"model":{"type":"BPE"}}']) {
      expect(() => readTokenizer(bytes(content), "t.json")).toThrow(
        /^t\.json is no tokenizer\.json that can be read: /,
      );
    }
    expect(() => published([], [], {})).toThrow("published: its vocabulary is empty");
    for (const id of [-1, 0.5, 1_000_000, 4e9, "1", null]) {
      const odd = { added_tokens: [], model: { type: "BPE", vocab: { a: 0, b: id }, merges: [] } };
      const added = { added_tokens: [{ id, content: "b" }], model: { type: "BPE", vocab: { a: 0 }, merges: [] } };
      for (const described of [odd, added]) {
        expect(() => readTokenizer(bytes(JSON.stringify(described)), "t.json")).toThrow(
          `t.json is no tokenizer.json that can be read: a token has the number ${id}, expected 0 to 999999`,
        );
      }
    }
  });

  it("may leave numbers out, which are then no tokens", () => {
    const gap = published(["a", "b"], [], { vocab: { a: 0, b: 2 } });
    expect(gap.size).toBe(3);
    expect(gap.encode("b a")).toEqual([2, 0]);
    expect(() => gap.decode([0, 1])).toThrow("token 1 is 1, which the vocabulary leaves out");
  });

  it("is pushed beside the chunks, named in the manifest by its hash, and decodes what was pushed", async () => {
    const text = readFileSync(MOBY, "utf8").slice(0, 5000);
    write("moby.txt", text);
    const source = { text: { file: "moby.txt", vocabulary: { tokenizer: TOKENIZER } } };
    const content = readSource("moby", source, folder);
    const { manifest, chunks } = cutDataset("moby", content);
    const file = readFileSync(TOKENIZER);
    const hash = createHash("sha256").update(file).digest("hex");
    expect(manifest.columns[0].dtype).toBe("int32");
    expect(manifest.vocabulary).toEqual({ kind: "tokenizer", hash, bytes: file.byteLength, size: 512 });
    expect(chunks.map((chunk) => chunk.hash)).toEqual([...manifest.chunks, hash]);
    expect(parseManifest(JSON.parse(JSON.stringify(manifest)))).toEqual(manifest);
    const blobs = new Map(chunks.map((chunk) => [chunk.hash, chunk.bytes]));
    const opened = await openVocabulary(manifest.vocabulary!, async (wanted) => blobs.get(wanted)!);
    expect(opened.decode([...new Int32Array(chunks[0].bytes.buffer)])).toBe(text);
  });
});

describe("a manifest with a vocabulary", () => {
  const manifest = (vocabulary: unknown, column: object = {}) => ({
    format: 1,
    name: "t",
    columns: [{ name: "tokens", dtype: "uint8", shape: [], ...column }],
    samples: 10,
    chunkSamples: 10,
    chunks: ["0".repeat(64)],
    splits: {},
    vocabulary,
  });
  const many = (count: number): string =>
    Array.from({ length: count }, (_, i) => String.fromCodePoint(0x10000 + i)).join("");
  const tokenizer = { kind: "tokenizer", hash: "a".repeat(64), bytes: 100, size: 200 };

  it("is read where the two fit", () => {
    for (const [vocabulary, column] of [
      [{ kind: "bytes" }, {}],
      [{ kind: "characters", characters: "🐳ab" }, {}],
      [{ kind: "characters", characters: many(256) }, {}],
      [{ kind: "characters", characters: many(32_768) }, { dtype: "int32" }],
      [tokenizer, {}],
      [{ ...tokenizer, size: 1_000_000, bytes: 16_000_000 }, { dtype: "int32" }],
    ] as const) {
      expect(parseManifest(manifest(vocabulary, column)).vocabulary).toEqual(vocabulary);
    }
  });

  const refusals: readonly (readonly [what: string, vocabulary: unknown, column: object, complaint: RegExp])[] = [
    ["another kind", { kind: "words" }, {}, /vocabulary\.kind/],
    ["nothing", null, {}, /vocabulary/],
    ["more keys", { kind: "bytes", code: "x" }, {}, /vocabulary/],
    ["no characters", { kind: "characters", characters: "" }, {}, /vocabulary\.characters/],
    ["a character twice", { kind: "characters", characters: "aba" }, {}, /a character comes twice/],
    ["half a surrogate pair", { kind: "characters", characters: "a\ud800" }, {}, /half a surrogate pair/],
    ["too many characters", { kind: "characters", characters: many(32_769) }, {}, /more than 32768 characters/],
    [
      "more characters than bytes can tell apart",
      { kind: "characters", characters: many(257) },
      {},
      /257 tokens need int32/,
    ],
    ["floats for tokens", { kind: "bytes" }, { dtype: "float32" }, /the column tokens is float32/],
    ["no column of tokens", { kind: "bytes" }, { name: "text" }, /a vocabulary is of the column tokens/],
    ["a tokenizer of another hash", { ...tokenizer, hash: "../secret" }, {}, /not a hex SHA-256/],
    ["a tokenizer beyond a blob's size", { ...tokenizer, bytes: 16_000_001 }, {}, /vocabulary\.bytes/],
    ["a tokenizer of no tokens", { ...tokenizer, size: 0 }, {}, /vocabulary\.size/],
    ["a tokenizer of too many tokens", { ...tokenizer, size: 1_000_001 }, { dtype: "int32" }, /vocabulary\.size/],
  ];
  for (const [what, vocabulary, column, complaint] of refusals) {
    it(`is refused with ${what}`, () => {
      expect(() => parseManifest(manifest(vocabulary, column))).toThrow(complaint);
    });
  }
});
