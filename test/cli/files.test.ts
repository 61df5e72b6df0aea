import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cutDataset } from "../../cli/dataset.ts";
import { CliError } from "../../cli/errors.ts";
import { parseIdx } from "../../cli/importers/idx.ts";
import { packageRoot } from "../../cli/root.ts";
import { encodeSafetensors } from "../../cli/safetensors.ts";
import { initialize } from "../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../shared/nn/index.ts";

/** An IDX file of the given shape with bytes 0, 1, 2, … */
function idx(...shape: number[]): Uint8Array {
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  const bytes = new Uint8Array(4 + 4 * shape.length + size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x0800 + shape.length);
  for (const [axis, dimension] of shape.entries()) view.setUint32(4 + 4 * axis, dimension);
  for (let at = 0; at < size; at++) bytes[4 + 4 * shape.length + at] = at % 256;
  return bytes;
}

describe("IDX files", () => {
  it("are read plain and gzipped", () => {
    for (const file of [idx(3, 2, 2), gzipSync(idx(3, 2, 2))]) {
      const { shape, data } = parseIdx(file, "f");
      expect(shape).toEqual([3, 2, 2]);
      expect([...data]).toEqual(Array.from({ length: 12 }, (_, at) => at));
    }
  });

  it("say what is wrong with them", () => {
    expect(() => parseIdx(new TextEncoder().encode("hello"), "f")).toThrow("not an IDX file");
    expect(() => parseIdx(idx(4, 4).slice(0, -1), "f")).toThrow("needs 16 bytes, the file has 15");
    const floats = idx(4);
    floats[2] = 0x0d;
    expect(() => parseIdx(floats, "f")).toThrow("0xd");
    expect(() => parseIdx(gzipSync(idx(4)).subarray(0, 12), "f")).toThrow("gzip");
  });

  it("never do anything but parse or throw a CliError, whatever the bytes", () => {
    const mutated = fc.tuple(fc.nat(20), fc.nat(255)).map(([at, value]) => {
      const bytes = idx(2, 2, 2);
      bytes[at % bytes.length] = value;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), mutated), (bytes) => {
        try {
          parseIdx(bytes, "f");
        } catch (error) {
          expect(error).toBeInstanceOf(CliError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

it("a data set is cut into chunks of about 1 MiB that hold every sample once, column by column", () => {
  const samples = 3000;
  const image = Uint8Array.from({ length: samples * 784 }, (_, at) => (at * 7) % 251);
  const label = Uint8Array.from({ length: samples }, (_, at) => at % 10);
  const { manifest, chunks } = cutDataset("d", {
    columns: [
      { name: "image", dtype: "uint8", shape: [784] },
      { name: "label", dtype: "uint8", shape: [] },
    ],
    rows: [image, label],
    samples,
    splits: { train: [0, samples] },
  });
  expect(manifest.chunkSamples).toBe(Math.floor((1 << 20) / 785));
  expect(chunks).toHaveLength(Math.ceil(samples / manifest.chunkSamples));
  const images = chunks.map(({ bytes }, index) => {
    const count = Math.min(manifest.chunkSamples, samples - index * manifest.chunkSamples);
    return Buffer.from(bytes.subarray(0, count * 784));
  });
  expect(Buffer.concat(images).equals(image)).toBe(true);
});

it("safetensors files have PyTorch's names and shapes, and no padding", () => {
  const graph = buildGraph({
    model: nn.sequential(nn.linear(3, 5), nn.relu(), nn.linear(5, 2)),
    loss: loss.mse(),
    input: [3],
  });
  const weights = initialize(graph, 1);
  const file = encodeSafetensors(graph, weights, { format: "pt" });
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<
    string,
    { shape: number[]; data_offsets: number[] }
  >;
  expect(Object.keys(header)).toEqual(["__metadata__", "0.weight", "0.bias", "2.weight", "2.bias"]);
  expect(header["0.weight"].shape).toEqual([5, 3]);
  expect(length % 8).toBe(0);
  expect(file.byteLength).toBe(8 + length + (15 + 5 + 10 + 2) * 4);
  const [from] = header["2.bias"].data_offsets;
  const offset = graph.parameters[3].offset;
  expect(new DataView(file.buffer, file.byteOffset + 8 + length + from).getFloat32(0, true)).toBe(weights[offset]);
});

describe("the command line", () => {
  const run = (...args: string[]): { status: number; output: string } => {
    try {
      const output = execFileSync(process.execPath, [join(packageRoot, "bin/commonweight.js"), ...args], {
        stdio: "pipe",
      });
      return { status: 0, output: output.toString() };
    } catch (error) {
      const { status, stderr } = error as { status: number; stderr: Buffer };
      return { status, output: stderr.toString() };
    }
  };

  it("lists what train takes", () => {
    const { output } = run("train", "--help");
    for (const option of ["--volunteers", "--engine", "--epochs", "--steps", "--seed", "--port", "--json"]) {
      expect(output).toContain(option);
    }
  });

  it("says in one line what it cannot do, and ends with 1", () => {
    expect(run("train", "nowhere.ts")).toMatchObject({
      status: 1,
      output: expect.stringContaining("no session file nowhere.ts"),
    });
    expect(run("train", "x.ts", "--engine", "cuda").output).toContain("engines are auto, webgpu, wasm");
    expect(run("dataset", "list", "--server", "http://127.0.0.1:9").output).toContain("does not answer");
  });
});
