import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { cutDataset, readSource } from "../../cli/dataset.ts";
import { snippet } from "../../cli/importers/imported.ts";
import { importLabelledText, type LabelledTextSource } from "../../cli/importers/labelled-text.ts";
import { splitSamples } from "../../cli/importers/split.ts";
import { bytesCodec, charactersCodec } from "../../client/text/codec.ts";
import { initialize, runReference } from "../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../shared/nn/index.ts";
import { parseManifest } from "../../shared/session/manifest.ts";

const folder = mkdtempSync(join(tmpdir(), "commonweight-texts-"));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string): string {
  const file = join(folder, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  return file;
}

const read = (name: string, content: string, options: Partial<LabelledTextSource> = {}) =>
  importLabelledText({ file: write(name, content), ...options });

/** Tokens, padding and target of each row, in the order of the file. */
function rowsOf({ content }: ReturnType<typeof importLabelledText>) {
  const [tokens, padding, label] = content.rows;
  const { columns, samples } = content;
  const [length] = columns[0].shape;
  const values = new Int32Array(tokens.buffer);
  const targets = columns[2].dtype === "float32" ? new Float32Array(label.buffer) : label;
  const rows: { tokens: number[]; padding: number[]; target: number }[] = [];
  for (const [place, sample] of splitSamples(samples).order.entries()) {
    const at = place * length;
    rows[sample] = {
      tokens: [...values.subarray(at, at + length)],
      padding: [...padding.subarray(at, at + length)],
      target: targets[place],
    };
  }
  return rows;
}

const REVIEWS = `text,label,stars
good,yes,5
"bad, bad",no,1
great!!,yes,4
awful,no,1
fine,yes,3
`;

describe("texts with labels", () => {
  it("become tokens of one length, a mask and classes: longer ones are cut, shorter ones padded", () => {
    const imported = read("reviews.csv", REVIEWS, { length: 5, vocabulary: { characters: " !,abdefginortuwl" } });
    const codec = charactersCodec(" !,abdefginortuwl");
    expect(imported.content.columns).toEqual([
      { name: "tokens", dtype: "int32", shape: [5] },
      { name: "padding", dtype: "uint8", shape: [5] },
      { name: "label", dtype: "uint8", shape: [] },
    ]);
    expect(rowsOf(imported)).toEqual([
      { tokens: [...codec.encode("good"), -1], padding: [0, 0, 0, 0, 1], target: 1 },
      { tokens: codec.encode("bad, "), padding: [0, 0, 0, 0, 0], target: 0 },
      { tokens: codec.encode("great"), padding: [0, 0, 0, 0, 0], target: 1 },
      { tokens: codec.encode("awful"), padding: [0, 0, 0, 0, 0], target: 0 },
      { tokens: [...codec.encode("fine"), -1], padding: [0, 0, 0, 0, 1], target: 1 },
    ]);
    expect(imported.notes).toContain("label: the target, 2 classes: 0 = no, 1 = yes");
    expect(imported.notes).toContain(
      "texts: up to 8 tokens; 2 of 5 have more than 5 and are cut, shorter ones are padded with -1",
    );
  });

  it("may have any column for the text, and any for the target, also a number", () => {
    const text = `id,body,mark\n${Array.from({ length: 30 }, (_, i) => `${i},${"x".repeat(i + 1)},${i * 1.5}`).join("\n")}\n`;
    const imported = read("marks.csv", text, { column: "body", target: "mark", length: 40 });
    expect(imported.content.columns[2]).toEqual({ name: "mark", dtype: "float32", shape: [1] });
    expect(rowsOf(imported).map(({ target }) => target)).toEqual(Array.from({ length: 30 }, (_, i) => i * 1.5));
    expect(imported.ending).toContain("loss.mse()");
  });

  it("hold the bytes of any text, from a file of JSON lines too", () => {
    const texts = fc.array(
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }).filter((text) => text !== ""),
      {
        minLength: 4,
        maxLength: 12,
      },
    );
    fc.assert(
      fc.property(texts, fc.integer({ min: 1, max: 30 }), (all, length) => {
        const lines = all.map((text, row) => JSON.stringify({ more: [row], text, label: row % 2 === 0 }));
        const rows = rowsOf(read("t.jsonl", `${lines.join("\n\n")}\n`, { length }));
        for (const [row, text] of all.entries()) {
          const encoded = bytesCodec.encode(text).slice(0, length);
          const rest = length - encoded.length;
          expect(rows[row]).toEqual({
            tokens: [...encoded, ...new Array(rest).fill(-1)],
            padding: [...encoded.map(() => 0), ...new Array(rest).fill(1)],
            target: row % 2 === 0 ? 1 : 0,
          });
        }
      }),
      { numRuns: 40 },
    );
  });

  it("come from a folder with a sub-folder for each class", () => {
    for (const [name, content] of [
      ["mail/ham/1.txt", "hello"],
      ["mail/ham/2.TXT", "see you"],
      ["mail/spam/1.txt", "BUY"],
      ["mail/.hidden/1.txt", "no"],
    ]) {
      write(name, content);
    }
    const imported = importLabelledText({ file: join(folder, "mail"), length: 4, split: { train: 1 } });
    expect(rowsOf(imported).map(({ tokens }) => bytesCodec.decode(tokens.filter((token) => token >= 0)))).toEqual([
      "hell",
      "see ",
      "BUY",
    ]);
    expect(imported.notes).toContain("label: the target, 2 classes: 0 = ham, 1 = spam");
    write("mixed/a/1.txt", "x");
    write("mixed/b/1.png", "x");
    expect(() => importLabelledText({ file: join(folder, "mixed") })).toThrow(/1\.png is not a \.txt file/);
    write("gap/a/1.txt", "x");
    write("gap/b/1.txt", " \n");
    expect(() => importLabelledText({ file: join(folder, "gap") })).toThrow(/b\/1\.txt is empty; leave it out/);
  });

  const refusals: readonly (readonly [
    what: string,
    name: string,
    content: string,
    options: Partial<LabelledTextSource>,
    complaint: RegExp,
  ])[] = [
    [
      "no such column",
      "r.csv",
      REVIEWS,
      { column: "body" },
      /r\.csv:1: there is no column "body"; there are text, label, stars/,
    ],
    ["no such target", "r.csv", REVIEWS, { target: "kind" }, /r\.csv:1: there is no column "kind"/],
    ["one column for both", "r.csv", REVIEWS, { target: "text" }, /column text cannot be both/],
    ["an empty text", "r.csv", "text,label\na,1\n,2\n", {}, /r\.csv:3: column text: the cell is empty/],
    [
      "a character that the vocabulary lacks",
      "r.csv",
      REVIEWS,
      { vocabulary: { characters: "god" } },
      /r\.csv:3: character 0 is "b"/,
    ],
    ["a length of 0", "r.csv", REVIEWS, { length: 0 }, /a text's length is 0, expected a whole number from 1 to 65536/],
    ["no lines", "r.jsonl", "\n\n", {}, /r\.jsonl: there is no line in it/],
    ["a line that is no JSON", "r.jsonl", '{"text":"a","label":1}\n{"text":', {}, /r\.jsonl:2: /],
    ["a line that is no object", "r.jsonl", '["a",1]', {}, /r\.jsonl:1: expected an object/],
    [
      "a line without a label",
      "r.jsonl",
      '{"text":"a","Label":1}',
      {},
      /r\.jsonl:1: there is no "label"; there are text, Label/,
    ],
    [
      "a label that is a list",
      "r.jsonl",
      '{"text":"a","label":[1]}',
      {},
      /r\.jsonl:1: label is \[1\], expected text, a number, true or false/,
    ],
    ["a label from the prototype", "r.jsonl", '{"text":"a"}', { target: "constructor" }, /there is no "constructor"/],
    ["a file that is not there", "r.csv", REVIEWS, { file: join(folder, "none.csv") }, /cannot read .*none\.csv/],
  ];
  for (const [what, name, content, options, complaint] of refusals) {
    it(`are refused with ${what}`, () => {
      expect(() => read(name, content, options)).toThrow(complaint);
    });
  }

  it("say how a session asks for them, and come along with a session file", () => {
    const file = write("reviews.csv", REVIEWS);
    const imported = importLabelledText({ file, length: 8, split: { train: 0.6, test: 0.4 } });
    expect(snippet("reviews", imported)).toEqual([
      'input: { tokens: { dtype: "int32", shape: [8] }, padding: { dtype: "int32", shape: [8] } },',
      'data: dataset("reviews", { inputs: { tokens: "tokens", padding: "padding" }, y: "label", train: [0, 3], test: [3, 5] }),',
      '// the model begins with nn.embedding(256, …) and pools with nn.meanOverTokens({ paddingMask: "padding" }); the model ends in 2 outputs, one a class, with loss: loss.crossEntropy()',
    ]);
    const source = { labelledText: { file: "reviews.csv", length: 8, split: { train: 0.6, test: 0.4 } } };
    const content = readSource("reviews", source, folder);
    expect(content).toEqual(imported.content);
    const { manifest } = cutDataset("reviews", content);
    expect(parseManifest(JSON.parse(JSON.stringify(manifest)))).toEqual(manifest);
  });
});

describe("a model of padded texts", () => {
  it("answers alike however far they are padded, and whatever stands there", () => {
    const text = bytesCodec.encode("Call me Ishmael.");
    const answer = (length: number, padding: number): Float64Array => {
      const model = nn.sequential(
        nn.embedding(256, 6),
        nn.multiheadAttention(6, 2, { paddingMask: "padding" }),
        nn.meanOverTokens({ paddingMask: "padding" }),
        nn.linear(6, 3),
      );
      const shape = { dtype: "int32", shape: [length] } as const;
      const graph = buildGraph({ model, loss: loss.crossEntropy(), input: { tokens: shape, padding: shape } });
      const rest = new Array(length - text.length).fill(0);
      const inputs = {
        tokens: [...text, ...rest.map(() => padding)],
        padding: [...text.map(() => 0), ...rest.map(() => 1)],
        y: [0],
        weight: [1],
      };
      const weights = initialize(graph, 3);
      return Float64Array.from(runReference(graph, 1, inputs, weights)[graph.outputs.prediction]);
    };
    const bare = answer(text.length, 0);
    for (const length of [17, 20, 64]) {
      for (const padding of [-1, 0, 255]) {
        for (const [at, value] of answer(length, padding).entries()) expect(value).toBeCloseTo(bare[at], 12);
      }
    }
  });
});
