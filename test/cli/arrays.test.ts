import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { zipSync } from "fflate";
import { afterAll, describe, expect, it } from "vitest";
import { CliError } from "../../cli/errors.ts";
import { importNpy, importNpz, unpackNpz } from "../../cli/importers/arrays.ts";
import { parseNpy } from "../../cli/importers/npy.ts";
import { splitSamples } from "../../cli/importers/split.ts";

const folder = mkdtempSync(join(tmpdir(), "commonweight-arrays-"));
afterAll(() => rmSync(folder, { recursive: true }));

const bytesOf = (values: { buffer: ArrayBufferLike; byteOffset: number; byteLength: number }): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** A file as NumPy writes it: the header padded with spaces so that the data begin at a multiple of 64. */
function npy(descr: string, shape: string, data: Uint8Array, { version = 1, order = "False" } = {}): Uint8Array {
  const text = `{'descr': ${descr}, 'fortran_order': ${order}, 'shape': ${shape}, }`;
  const start = version === 1 ? 10 : 12;
  const length = Math.ceil((start + text.length + 1) / 64) * 64 - start;
  const head = new Uint8Array(start);
  head.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0]);
  const view = new DataView(head.buffer);
  if (version === 1) view.setUint16(8, length, true);
  else view.setUint32(8, length, true);
  return Buffer.concat([head, Buffer.from(`${text.padEnd(length - 1)}\n`), data]);
}

/** numpy.save of numpy.array([[1, -2], [3, 4]], dtype="<i2") by NumPy 2.4.6. */
const BY_NUMPY = Buffer.from(
  "k05VTVBZAQB2AHsnZGVzY3InOiAnPGkyJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsIDIpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoBAP7/AwAEAA==",
  "base64",
);

describe("NPY files", () => {
  it("that NumPy wrote are read", () => {
    const { shape, dtype, bytes } = parseNpy(BY_NUMPY, "f");
    expect([shape, dtype]).toEqual([[2, 2], "int32"]);
    expect([...new Int32Array(bytes.buffer)]).toEqual([1, -2, 3, 4]);
  });

  it("of all numbers and header versions become what data sets hold", () => {
    const swapped = Uint8Array.of(0, 0, 1, 2, 0xff, 0xff, 0xff, 0xfe);
    const cases: readonly [descr: string, data: Uint8Array, dtype: string, values: number[]][] = [
      ["'|u1'", Uint8Array.of(7, 255), "uint8", [7, 255]],
      ["'|b1'", Uint8Array.of(0, 1), "uint8", [0, 1]],
      ["'|i1'", Uint8Array.of(7, 255), "int32", [7, -1]],
      ["'<u2'", bytesOf(Uint16Array.of(7, 65535)), "int32", [7, 65535]],
      ["'<i4'", bytesOf(Int32Array.of(-7, 2 ** 31 - 1)), "int32", [-7, 2 ** 31 - 1]],
      ["'>i4'", swapped, "int32", [258, -2]],
      ["'<i8'", bytesOf(BigInt64Array.of(-7n, -(2n ** 31n))), "int32", [-7, -(2 ** 31)]],
      ["'<u8'", bytesOf(BigUint64Array.of(0n, 5n)), "int32", [0, 5]],
      ["'<f4'", bytesOf(Float32Array.of(0.1, -1e30)), "float32", [Math.fround(0.1), Math.fround(-1e30)]],
      ["'<f8'", bytesOf(Float64Array.of(0.1, 3)), "float32", [Math.fround(0.1), 3]],
    ];
    for (const version of [1, 2, 3]) {
      for (const [descr, data, dtype, values] of cases) {
        const array = parseNpy(npy(descr, "(2,)", data, { version }), "f");
        const held = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array }[array.dtype];
        expect([array.dtype, [...new held(array.bytes.buffer)]], descr).toEqual([dtype, values]);
      }
    }
  });

  it("say what is wrong with them", () => {
    const four = new Uint8Array(16);
    const cases: readonly [file: Uint8Array, complaint: string][] = [
      [Buffer.from("hello, hello, hello"), "f is not an NPY file"],
      [npy("'<f4'", "(2, 2)", four, { order: "True" }), "f is in Fortran order: save numpy.ascontiguousarray(a)"],
      [npy("'<f4'", "(3,)", four), "3 needs 12 bytes, the file has 16"],
      [npy("'<f4'", "(4294967296, 4294967296, 4294967296)", four), "the file has 16"],
      [npy("'<f4'", "()", four.subarray(0, 4)), "holds a single number"],
      [npy("'|O'", "(2,)", four), "its type is '|O'"],
      [npy("'<f2'", "(8,)", four), "its type is '<f2'"],
      [npy("[('a', '<f4')]", "(4,)", four), "its type is of records"],
      [npy("'<i8'", "(2,)", bytesOf(BigInt64Array.of(1n, 2n ** 31n))), "value 1 is 2147483648, and int32 holds"],
      [npy("'<f4'", "(4,)", bytesOf(Float32Array.of(1, 2, Number.NaN, 0))), "value 2 is NaN"],
      [npy("'<f8'", "(2,)", bytesOf(Float64Array.of(1, 1e300))), "value 1 is 1e+300: float32 cannot hold it"],
      [npy("'<f4'", "(4,)", four, { version: 4 }), "NPY version 4"],
      [npy("'<f4'", "(4,)", four).subarray(0, 40), "at byte 8"],
      [npy("'<f4'", "x", four), "no NPY header"],
    ];
    for (const [file, complaint] of cases) expect(() => parseNpy(file, "f")).toThrow(complaint);
  });

  it("never do anything but parse or throw a CliError, whatever the bytes", () => {
    const file = npy("'<f4'", "(2, 2)", new Uint8Array(16));
    const mutated = fc.tuple(fc.nat(file.length - 1), fc.nat(255)).map(([at, value]) => {
      const bytes = Uint8Array.from(file);
      bytes[at] = value;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 100 })), (bytes) => {
        try {
          parseNpy(bytes, "f");
        } catch (error) {
          expect(error).toBeInstanceOf(CliError);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it("become columns whose samples stay together through the shuffle", () => {
    const x = join(folder, "x.npy");
    const y = join(folder, "y.npy");
    writeFileSync(x, npy("'<f4'", "(50, 2)", bytesOf(Float32Array.from({ length: 100 }, (_, at) => at))));
    writeFileSync(y, npy("'<i8'", "(50,)", bytesOf(BigInt64Array.from({ length: 50 }, (_, at) => BigInt(at)))));
    const { content } = importNpy({ features: x, label: y }, { train: 0.9, test: 0.1 }, 3);
    expect(content.columns).toEqual([
      { name: "features", dtype: "float32", shape: [2] },
      { name: "label", dtype: "int32", shape: [] },
    ]);
    expect(content.splits).toEqual({ train: [0, 45], test: [45, 50] });
    const features = new Float32Array(content.rows[0].buffer);
    const labels = new Int32Array(content.rows[1].buffer);
    expect([...labels]).toEqual([...splitSamples(50, undefined, 3).order]);
    for (const [place, label] of labels.entries()) {
      expect([...features.subarray(place * 2, place * 2 + 2)]).toEqual([label * 2, label * 2 + 1]);
    }
    writeFileSync(y, npy("'<i8'", "(2,)", bytesOf(BigInt64Array.of(0n, 1n))));
    expect(() => importNpy({ features: x, label: y })).toThrow(`${y} has 2 samples, ${x} has 50`);
  });
});

describe("NPZ files", () => {
  const x = npy("'<f4'", "(10, 2)", bytesOf(Float32Array.from({ length: 20 }, (_, at) => at)));
  const y = npy(
    "'|u1'",
    "(10,)",
    Uint8Array.from({ length: 10 }, (_, at) => at),
  );

  it("become a column for each array, packed or not", () => {
    for (const level of [0, 6] as const) {
      const file = join(folder, "a.npz");
      writeFileSync(file, zipSync({ "x.npy": x, "y.npy": y }, { level }));
      const { content, y: target } = importNpz(file, { train: 1 });
      expect(content.columns.map(({ name, dtype, shape }) => [name, dtype, shape])).toEqual([
        ["x", "float32", [2]],
        ["y", "uint8", []],
      ]);
      expect([...content.rows[1]].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      expect(target).toBe('"y"');
    }
  });

  it("say what is wrong with them", () => {
    const file = join(folder, "b.npz");
    writeFileSync(file, zipSync({ "x.npy": x, "y.npy": y.subarray(0, -1) }));
    expect(() => importNpz(file)).toThrow(`${file}, array "y": 10 needs 10 bytes, the file has 9`);
    writeFileSync(file, zipSync({ "../x.txt": x }));
    expect(() => importNpz(file)).toThrow('"../x.txt" is not an NPY array');
    writeFileSync(file, "PK, but no archive");
    expect(() => importNpz(file)).toThrow("is not an NPZ file");
  });

  it("unpack to no more than their directory says, and that has a limit", () => {
    const bomb = Buffer.from(zipSync({ "x.npy": new Uint8Array(5_000_000) }, { level: 9 }));
    const directory = bomb.indexOf(Buffer.from("PK\u0001\u0002"));
    // A directory that says ten bytes: no more than that is made of it.
    bomb.writeUInt32LE(10, directory + 24);
    expect(unpackNpz(bomb, "f").x.length).toBeLessThanOrEqual(10);
    bomb.writeUInt32LE(4_000_000_000, directory + 24);
    expect(() => unpackNpz(bomb, "f")).toThrow("f: unpacks to over 2000000000 bytes");
  });
});
