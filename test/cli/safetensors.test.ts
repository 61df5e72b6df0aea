import { describe, expect, it } from "vitest";
import { CliError } from "../../cli/errors.ts";
import { parseSafetensors } from "../../cli/importers/safetensors.ts";
import { encodeSafetensors } from "../../cli/safetensors.ts";
import { GraphError, givenWeights, initialize } from "../../shared/graph/index.ts";
import { buildGraph, defineSession, localData, loss, type NamedTensor, nn, optim } from "../../shared/nn/index.ts";

/** A file of this header and so many bytes of data. */
function file(header: unknown, data: Uint8Array | number): Uint8Array {
  const text = typeof header === "string" ? header : JSON.stringify(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  return new Uint8Array(
    Buffer.concat([length, Buffer.from(text), typeof data === "number" ? Buffer.alloc(data) : data]),
  );
}

const tensor = (dtype: string, shape: number[], from: number, to: number) => ({
  dtype,
  shape,
  data_offsets: [from, to],
});

const model = nn.sequential(nn.linear(3, 2), nn.relu(), nn.linear(2, 2));
const options = {
  title: "From a file",
  model,
  input: [3],
  loss: loss.mse(),
  optimizer: optim.sgd({ lr: 0.1 }),
  data: localData({ x: "x", y: "y", columns: [], samplesPerEpoch: 8 }),
  batchSize: 8,
  epochs: 1,
};

describe("safetensors files", () => {
  it("that this project exports are read again, and a session starts from them", () => {
    const graph = buildGraph(options);
    const weights = initialize(graph, 9);
    const tensors = parseSafetensors(encodeSafetensors(graph, weights, { format: "pt" }), "f");
    expect([...tensors.keys()]).toEqual(["0.weight", "0.bias", "2.weight", "2.bias"]);
    const session = defineSession({ ...options, weights: tensors });
    expect(initialize(session.graph, 0, givenWeights(session.graph))).toEqual(weights);
  });

  it("of half precision become float32, and counts of batches are left out", () => {
    const half = Uint8Array.of(0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00); // 1, −2, 2⁻²⁴
    const brain = Uint8Array.of(0x80, 0x3f, 0x00, 0xc0); // 1, −2
    const double = new Uint8Array(Float64Array.of(0.1).buffer);
    const tensors = parseSafetensors(
      file(
        {
          h: tensor("F16", [3], 0, 6),
          b: tensor("BF16", [2], 6, 10),
          d: tensor("F64", [], 10, 18),
          num_batches_tracked: tensor("I64", [], 18, 26),
        },
        Buffer.concat([half, brain, double, Buffer.alloc(8)]),
      ),
      "f",
    );
    expect([...tensors].map(([name, { values }]) => [name, [...Array.from(values)]])).toEqual([
      ["h", [1, -2, 2 ** -24]],
      ["b", [1, -2]],
      ["d", [Math.fround(0.1)]],
    ]);
  });

  it("say what is wrong with them", () => {
    const cases: readonly [file: Uint8Array, complaint: string][] = [
      [new Uint8Array(3), "f is not a safetensors file: it has 3 bytes"],
      [Buffer.from("a text that is no such file"), "f is not a safetensors file: a header of"],
      [file("{", 0), "f: its header is not JSON"],
      [file("[]", 0), "f: its header is no table of tensors"],
      [file({ a: 1 }, 0), 'f, tensor "a": '],
      [file({ a: { ...tensor("F32", [1], 0, 4), more: 1 } }, 4), 'f, tensor "a": '],
      [file({ a: tensor("F32", [1], 4, 8) }, 8), "its bytes are 4..8, expected from 0"],
      [file({ a: tensor("F32", [3], 0, 12) }, 8), "its bytes are 0..12, expected from 0 to at most 8"],
      [file({ a: tensor("F32", [1], 0, 4), b: tensor("F32", [1], 0, 4) }, 4), "expected from 4 to at most 4"],
      [file({ a: tensor("F32", [1], 0, 4) }, 8), "4 bytes at its end belong to no tensor"],
      [file({ a: tensor("F32", [2], 0, 4) }, 4), 'tensor "a": F32 [2] needs 8 bytes, 4 are its own'],
      [file({ a: tensor("F32", [2 ** 52, 2 ** 52, 0], 0, 4) }, 4), "needs 0 bytes, 4 are its own"],
      [file({ a: tensor("F8", [1], 0, 1) }, 1), 'its type "F8" is not read'],
      [file({ a: tensor("constructor", [1], 0, 1) }, 1), 'its type "constructor" is not read'],
      [file("[".repeat(100_000), 0), "its header is not JSON"],
    ];
    for (const [bytes, complaint] of cases) {
      expect(() => parseSafetensors(bytes, "f"), complaint).toThrow(CliError);
      expect(() => parseSafetensors(bytes, "f")).toThrow(complaint);
    }
  });

  it("must have exactly the model's names and shapes", () => {
    const right = new Map<string, NamedTensor>(
      buildGraph(options).parameters.map(({ name, shape }) => [
        name,
        { shape, values: new Float32Array(shape.reduce((size, next) => size * next, 1)) },
      ]),
    );
    const start = (change: (tensors: Map<string, NamedTensor>) => void) => () => {
      const weights = new Map(right);
      change(weights);
      return defineSession({ ...options, weights });
    };
    expect(start(() => {})().graph.parameters).toHaveLength(4);
    const cases: readonly [(tensors: Map<string, NamedTensor>) => void, string][] = [
      [(tensors) => tensors.delete("0.bias"), "weights: they lack 0.bias"],
      [(tensors) => tensors.set("head", { shape: [1], values: [0] }), "the model has no head"],
      [
        (tensors) => tensors.set("0.weight", { shape: [3, 2], values: new Float32Array(6) }),
        "weights: 0.weight is [3, 2], the model's is [2, 3]",
      ],
    ];
    for (const [change, complaint] of cases) {
      expect(start(change)).toThrow(GraphError);
      expect(start(change)).toThrow(complaint);
    }
  });
});
