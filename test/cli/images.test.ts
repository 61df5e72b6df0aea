import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { crc32, deflateSync } from "node:zlib";
import fc from "fast-check";
import { encode } from "fast-png";
import { afterAll, expect, it } from "vitest";
import { CliError } from "../../cli/errors.ts";
import { importImages, parsePng } from "../../cli/importers/images.ts";
import { splitSamples } from "../../cli/importers/split.ts";

const root = mkdtempSync(join(tmpdir(), "commonweight-images-"));
afterAll(() => rmSync(root, { recursive: true }));

let count = 0;

/** A folder with these files. */
function folderOf(files: Readonly<Record<string, Uint8Array | string>>): string {
  count += 1;
  const folder = join(root, String(count));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

const grey = (width: number, height: number, first = 0): Uint8Array => {
  const data = Uint8Array.from({ length: width * height }, (_, at) => (first + at) % 256);
  return encode({ width, height, data, channels: 1, depth: 8 });
};

/** A PNG file by its own chunks, in whatever condition. */
function png(header: number[], pixels: Uint8Array): Uint8Array {
  const chunk = (type: string, data: Uint8Array): Buffer => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const [width, height, depth, colour, interlace] = header;
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([depth, colour, 0, 0, interlace], 8);
  return Buffer.concat([
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", head),
    chunk("IDAT", deflateSync(pixels)),
    chunk("IEND", new Uint8Array(0)),
  ]);
}

it("a folder of grey pictures becomes images and labels, classes by the names of their folders", () => {
  const folder = folderOf({
    "dog/1.png": grey(3, 2, 100),
    "cat/1.png": grey(3, 2, 10),
    "cat/2.PNG": grey(3, 2, 20),
    ".hidden/x": "",
    "cat/.DS_Store": "",
  });
  const { content, notes, input } = importImages(folder, { train: 1 });
  expect(content.columns).toEqual([
    { name: "image", dtype: "uint8", shape: [1, 2, 3] },
    { name: "label", dtype: "uint8", shape: [] },
  ]);
  expect(input).toEqual([1, 2, 3]);
  expect(notes).toEqual(["3 × 2 grey pictures", "class 0 = cat", "class 1 = dog"]);
  const firsts = [10, 20, 100];
  for (const [place, sample] of splitSamples(3).order.entries()) {
    expect([...content.rows[0].subarray(place * 6, place * 6 + 6)]).toEqual(
      Array.from({ length: 6 }, (_, at) => firsts[sample] + at),
    );
    expect(content.rows[1][place]).toBe(sample === 2 ? 1 : 0);
  }
});

it("colours come channel by channel, and transparency that hides nothing is left out", () => {
  const rgb = Uint8Array.of(1, 2, 3, 4, 5, 6);
  const rgba = Uint8Array.of(1, 2, 3, 255, 4, 5, 6, 255);
  for (const [data, channels] of [
    [rgb, 3],
    [rgba, 4],
  ] as const) {
    const picture = parsePng(encode({ width: 2, height: 1, data, channels, depth: 8 }), "f");
    expect(picture).toMatchObject({ width: 2, height: 1, channels: 3 });
    expect([...picture.values]).toEqual([1, 4, 2, 5, 3, 6]);
  }
  rgba[7] = 254;
  expect(() => parsePng(encode({ width: 2, height: 1, data: rgba, channels: 4, depth: 8 }), "f")).toThrow(
    "f: it is partly transparent",
  );
});

it("what does not fit is named", () => {
  const cases: readonly [files: Record<string, Uint8Array | string>, complaint: string][] = [
    [{ "a/1.png": grey(3, 2), "b/1.png": grey(2, 3) }, "b/1.png is 2 × 3 grey, "],
    [{ "a/1.png": grey(3, 2), "b/1.jpg": "" }, "b/1.jpg is not a PNG file"],
    [{ "a/1.png": grey(3, 2), "b/1.png": "no picture" }, "b/1.png: this is not a PNG file"],
    [{ "a/1.png": grey(3, 2) }, "has 1 sub-folders"],
    [{ "a/1.png": grey(3, 2), "b/.x": "" }, "holds no pictures"],
  ];
  for (const [files, complaint] of cases) expect(() => importImages(folderOf(files))).toThrow(complaint);
  expect(() => importImages(join(root, "nowhere"))).toThrow("cannot read");
});

it("pictures of other kinds, broken ones and bombs are refused before they are unpacked", () => {
  const cases: readonly [file: Uint8Array, complaint: string][] = [
    [png([2, 2, 16, 0, 0], new Uint8Array(10)), "16 bits a channel, expected 8"],
    [png([2, 2, 8, 0, 1], new Uint8Array(6)), "interlaced"],
    [png([2, 2, 8, 7, 0], new Uint8Array(6)), "colour type 7"],
    [png([100_000, 100_000, 8, 2, 0], new Uint8Array(6)), "100000 × 100000 pixels, the limit is 4096 × 4096"],
    [png([2, 2, 8, 0, 0], new Uint8Array(5)), "its pixels are cut off: 5 of 6 bytes"],
    [png([2, 2, 8, 0, 0], new Uint8Array(20_000_000)), "f: its pixels unpack to more than 6 bytes"],
  ];
  for (const [file, complaint] of cases) expect(() => parsePng(file, "f")).toThrow(complaint);
  const damaged = Buffer.from(grey(3, 2));
  damaged[damaged.indexOf("IDAT") + 6] ^= 1;
  expect(() => parsePng(damaged, "f")).toThrow(CliError);
});

it("never does anything but read a picture or throw a CliError, whatever the bytes", () => {
  const file = grey(3, 2);
  const mutated = fc.tuple(fc.nat(file.length - 1), fc.nat(255)).map(([at, value]) => {
    const bytes = Uint8Array.from(file);
    bytes[at] = value;
    return bytes;
  });
  fc.assert(
    fc.property(mutated, (bytes) => {
      try {
        parsePng(bytes, "f");
      } catch (error) {
        expect(error).toBeInstanceOf(CliError);
      }
    }),
    { numRuns: 2000 },
  );
});
