import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CliError } from "../../cli/errors.ts";
import { parseCsv } from "../../cli/importers/csv.ts";
import { snippet } from "../../cli/importers/imported.ts";
import { parseFractions, splitSamples } from "../../cli/importers/split.ts";
import { type CsvSource, importTable } from "../../cli/importers/table.ts";
import { moonsCsv } from "../../cli/starter.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const read = (text: string, options: Partial<CsvSource> & { target: string }) =>
  importTable(parseCsv(bytes(text), "t.csv", options.delimiter), { file: "t.csv", ...options });

/** All rows in the file's order, as [features…, target], whatever the split's order. */
function rows(imported: ReturnType<typeof read>): number[][] {
  const [features, target] = imported.content.rows;
  const x = new Float32Array(features.buffer);
  const width = imported.input[0];
  const dtype = imported.content.columns[1].dtype;
  const y =
    dtype === "uint8" ? target : dtype === "int32" ? new Int32Array(target.buffer) : new Float32Array(target.buffer);
  const { order } = splitSamples(imported.content.samples);
  const out: number[][] = [];
  for (const [place, sample] of order.entries()) {
    out[sample] = [...x.subarray(place * width, (place + 1) * width), y[place]];
  }
  return out;
}

const PEOPLE = `age,colour,height,kind
20,red,1.5,b
30,green,1.75,a
40,red,2,c
50,blue,1.25,a
`;

describe("CSV files", () => {
  it("become one column of features, with one feature a category, and one of class numbers in sorted order", () => {
    const imported = read(PEOPLE, { target: "kind", normalise: false });
    expect(imported.content.columns).toEqual([
      { name: "features", dtype: "float32", shape: [5] },
      { name: "kind", dtype: "uint8", shape: [] },
    ]);
    // age, colour=blue, colour=green, colour=red, height; kind
    expect(rows(imported)).toEqual([
      [20, 0, 0, 1, 1.5, 1],
      [30, 0, 1, 0, 1.75, 0],
      [40, 0, 0, 1, 2, 2],
      [50, 1, 0, 0, 1.25, 0],
    ]);
    expect(imported.notes).toContain("kind: the target, 3 classes: 0 = a, 1 = b, 2 = c");
    expect(imported.notes).toContain("colour: category, one feature each for blue, green, red");
  });

  it("are normalised by the training rows alone", () => {
    const text = `v,y\n${Array.from({ length: 100 }, (_, row) => `${row * row},${row % 2}`).join("\n")}\n`;
    const { content, notes } = read(text, { target: "y" });
    const values = new Float32Array(content.rows[0].buffer);
    const train = values.subarray(0, content.splits.train[1]);
    const mean = train.reduce((sum, value) => sum + value, 0) / train.length;
    const variance = train.reduce((sum, value) => sum + (value - mean) ** 2, 0) / train.length;
    expect(mean).toBeCloseTo(0, 5);
    expect(variance).toBeCloseTo(1, 5);
    const all = values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(Math.abs(all)).toBeGreaterThan(1e-3);
    expect(notes.join("\n")).toMatch(/normalised v: \(value − [\d.]+\) \/ [\d.]+/);
  });

  it("keep a column that never changes, and categories, as they are", () => {
    const imported = read("c,d,y\n7,u,0\n7,v,1\n7,u,0\n7,v,1\n7,u,0\n7,v,1\n", { target: "y" });
    for (const [c, u, v] of rows(imported)) expect([c, u + v]).toEqual([0, 1]);
  });

  it("take a target of many numbers, or one said to be a number, for a number", () => {
    const text = `x,y\n${Array.from({ length: 50 }, (_, row) => `${row},${row * 1000}`).join("\n")}\n`;
    const imported = read(text, { target: "y" });
    expect(imported.content.columns[1]).toEqual({ name: "y", dtype: "float32", shape: [1] });
    expect(rows(imported).map((row) => row[1])).toEqual(Array.from({ length: 50 }, (_, row) => row * 1000));
    expect(imported.ending).toContain("loss.mse()");
    expect(read(PEOPLE, { target: "age", columns: { age: "number" } }).content.columns[1].dtype).toBe("float32");
  });

  it("number classes that are numbers by their size", () => {
    const { notes } = read("x,y\n1,10\n2,9\n3,2\n", { target: "y", split: { train: 1 } });
    expect(notes).toContain("y: the target, 3 classes: 0 = 2, 1 = 9, 2 = 10");
  });

  it("leave out what is to be skipped, and read quotes, other delimiters, a byte order mark and carriage returns", () => {
    const text = '\ufeffid;name;y\r\n1;"a;""b";0\r\n\r\n2;c;1\r\n3;c;1\r\n';
    const imported = read(text, { target: "y", delimiter: ";", columns: { id: "skip" } });
    expect(imported.notes).toContain('name: category, one feature each for a;"b, c');
    expect(imported.input).toEqual([2]);
  });

  it("are split and shuffled by the seed alone", () => {
    const { content } = read(moonsCsv(), { target: "moon" });
    expect(content.splits).toEqual({ train: [0, 320], validation: [320, 360], test: [360, 400] });
    const again = read(moonsCsv(), { target: "moon" }).content;
    expect(again.rows.map((row) => Buffer.from(row).toString("hex"))).toEqual(
      content.rows.map((row) => Buffer.from(row).toString("hex")),
    );
    const other = read(moonsCsv(), { target: "moon", seed: 1 }).content;
    expect(Buffer.from(other.rows[1]).equals(Buffer.from(content.rows[1]))).toBe(false);
    // The file is sorted by class; its parts are not.
    const test = content.rows[1].subarray(360, 400);
    expect(new Set(test)).toEqual(new Set([0, 1]));
  });

  it("are asked for by the lines that push prints", () => {
    expect(snippet("moons", read(moonsCsv(), { target: "moon" }))).toEqual([
      "input: [2],",
      'data: dataset("moons", { x: "features", y: "moon", train: [0, 320], validation: [320, 360], test: [360, 400] }),',
      "// the model ends in 2 outputs, one a class, with loss: loss.crossEntropy()",
    ]);
  });

  it("say file and line of what is wrong", () => {
    const many = (cell: string): string => `x,y\n${"1,0\n2,1\n".repeat(20)}${cell},0\n`;
    const cases: readonly [text: string, options: Partial<CsvSource> & { target: string }, complaint: string][] = [
      ["a,b\n1,2\n3\n", { target: "b" }, "t.csv:3: "],
      ['a,b\n1,"2\n', { target: "b" }, "t.csv:"],
      ["a,b\n1,\n", { target: "a" }, "t.csv:2: column b: the cell is empty"],
      [many("NA"), { target: "y" }, 't.csv:42: column x: "NA" is no number, and 40 of 41 cells are; mend it'],
      [many("1e99"), { target: "y" }, "t.csv:42: column x: 1e99 is more than a float32 can hold"],
      [many("1.5"), { target: "y", columns: { x: "integer" } }, 't.csv:42: column x: "1.5" is no whole number'],
      ["a,b\n1,2\n", { target: "c" }, 't.csv:1: there is no column "c"; there are a, b'],
      ["a,a\n1,2\n", { target: "a" }, "t.csv:1: two columns are called a"],
      [
        "a;b\n1;2\n",
        { target: "a" },
        't.csv:1: a table has at least two columns, this has one: is it --delimiter ";"?',
      ],
      ["a,b\n", { target: "a" }, "t.csv: a header row and at least one more"],
      ["", { target: "a" }, "t.csv: a header row and at least one more"],
      ["a,b\n1,x\n2,x\n", { target: "b" }, 't.csv:2: column b: all rows are "x"'],
      ["a,b\n1,x\n", { target: "b", columns: { a: "skip" } }, "no column is left"],
      ["a,constructor\n1,x\n2,y\n", { target: "a", columns: { b: "skip" } }, 'no column "b"'],
      [`a,b\n${"q".repeat(1_100_000)},1\n`, { target: "b" }, "t.csv"],
      [
        `a,b\n${Array.from({ length: 300 }, (_, row) => `v${row},${row % 2}`).join("\n")}\n`,
        { target: "b" },
        "t.csv:258: column a: more than 256 different values",
      ],
    ];
    for (const [text, options, complaint] of cases) {
      expect(() => read(text, options), text.slice(0, 40)).toThrow(complaint);
      expect(() => read(text, options)).toThrow(CliError);
    }
    expect(rows(read("constructor,b\n1,x\n2,y\n", { target: "b", normalise: false }))).toEqual([
      [1, 0],
      [2, 1],
    ]);
  });

  it("never do anything but parse or throw a CliError, whatever the text", () => {
    const text = fc.string({
      unit: fc.constantFrom("a", "1", ",", "\n", '"', ";", " ", "-", "\r", "é"),
      maxLength: 60,
    });
    fc.assert(
      fc.property(text, (content) => {
        try {
          read(content, { target: "a" });
        } catch (error) {
          expect(error).toBeInstanceOf(CliError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("splits", () => {
  it("hold every sample once", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 3000 }), fc.nat(1000), (samples, seed) => {
        const { order, splits, trainSamples } = splitSamples(samples, undefined, seed);
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: samples }, (_, index) => index));
        expect(splits.train).toEqual([0, trainSamples]);
        expect(splits.test[1]).toBe(samples);
        expect(splits.validation).toEqual([trainSamples, splits.test[0]]);
      }),
      { numRuns: 100 },
    );
  });

  it("are parts of a whole", () => {
    expect(parseFractions("train=0.5, test=0.5")).toEqual({ train: 0.5, test: 0.5 });
    expect(() => parseFractions("train=0.5,dev=0.5")).toThrow("got dev=0.5");
    expect(() => parseFractions("train")).toThrow("expected train=0.8");
    expect(() => parseFractions("train=0.5,train=0.5")).toThrow("named twice");
    expect(() => splitSamples(10, { train: 0.5 })).toThrow("add up to 1, these to 0.5");
    expect(() => splitSamples(10, { train: Number.NaN, test: 1 })).toThrow("add up to 1");
    expect(() => splitSamples(10, { train: 1.5, test: -0.5 })).toThrow("add up to 1");
    expect(() => splitSamples(10, { test: 1 })).toThrow("leaves none to train on");
  });
});
