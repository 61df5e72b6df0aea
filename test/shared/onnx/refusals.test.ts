import { describe, expect, it } from "vitest";
import { type AttributeValue, ModelWriter } from "../../../client/engine/onnx/model.ts";
import { GraphError } from "../../../shared/graph/index.ts";
import { buildGraph, loss } from "../../../shared/nn/index.ts";
import { checkIndependence } from "../../../shared/onnx/independence.ts";
import { parseModel } from "../../../shared/onnx/model.ts";
import { type OnnxOptions, onnxModule } from "../../../shared/onnx/module.ts";
import { modelFile } from "./cases.ts";

type NodeSpec = readonly [
  op: string,
  inputs: readonly string[],
  output: string,
  attributes?: Readonly<Record<string, AttributeValue>>,
];

/** A model of x [N, 4] → y; `lists` are int64 initializers, and w [4, 4] is a matrix. */
function modelOf(nodes: readonly NodeSpec[], lists: Readonly<Record<string, readonly number[]>> = {}): Uint8Array {
  const to = new ModelWriter();
  to.input("x", "float32", ["N", 4]);
  to.initializer(
    Float32Array.from({ length: 16 }, (_, at) => at / 16 - 0.4),
    [4, 4],
    "w",
  );
  for (const [name, values] of Object.entries(lists)) {
    to.initializer(BigInt64Array.from(values, BigInt), [values.length], name);
  }
  for (const [op, inputs, output, attributes] of nodes) to.node(op, inputs, output, attributes);
  to.output("y", "float32", ["N", 4]);
  return to.finish();
}

const build = (bytes: Uint8Array, options: OnnxOptions = {}) =>
  buildGraph({ model: onnxModule(bytes, options), loss: loss.mse(), input: [4] });

const PRODUCT: NodeSpec = ["MatMul", ["x", "w"], "h"];

/** A protobuf field of bytes. */
const field = (number: number, bytes: readonly number[]): number[] => [number * 8 + 2, bytes.length, ...bytes];

describe("an ONNX model is refused, and what and where is said, when", () => {
  const cases: Readonly<Record<string, readonly [bytes: Uint8Array, complaint: string, options?: OnnxOptions]>> = {
    "ops are not supported, all of which are named": [
      modelOf([PRODUCT, ["Einsum", ["h"], "a"], ["LSTM", ["a"], "y"]]),
      "ops that are not supported: Einsum (node without a name, which makes a): it is not supported yet; LSTM (node without a name, which makes y): recurrent layers are not supported",
    ],
    "an op that folds shapes is given values": [
      modelOf([PRODUCT, ["Sin", ["h"], "y"]]),
      "ONNX op Sin (node without a name, which makes y): it is supported for shapes and constants",
    ],
    "a value is read before it is made": [modelOf([["Relu", ["h"], "y"]]), "it reads h, which nothing before it makes"],
    "two values have one name": [modelOf([PRODUCT, ["Relu", ["h"], "h"]]), "two values are named h"],
    "samples are normalised together": [
      modelOf([PRODUCT, ["Softmax", ["h"], "y", { axis: { int: 0 } }]]),
      "it normalises over the batch",
    ],
    "a part of the batch is taken": [
      modelOf([PRODUCT, ["Gather", ["h", "s"], "y", { axis: { int: 0 } }]], { s: [0] }),
      "it takes a part over the batch",
    ],
    "a further output is read that is not made": [
      modelOf([PRODUCT, ["Identity", ["h"], "i"], ["Relu", ["missing"], "y"]]),
      "it reads missing, which nothing before it makes",
    ],
    "samples are averaged": [
      modelOf([PRODUCT, ["ReduceMean", ["h"], "y", { axes: { ints: [0] } }]]),
      "it reduces over the batch",
    ],
    "a product does not fit": [
      modelOf([PRODUCT, ["Reshape", ["h", "s"], "r"], ["MatMul", ["r", "w"], "y"]], { s: [-1, 2] }),
      "ONNX op MatMul",
    ],
    "a reshape does not fit": [modelOf([PRODUCT, ["Reshape", ["h", "s"], "y"]], { s: [-1, 3] }), "cannot be reshaped"],
    "a shape is enormous": [
      modelOf([["ConstantOfShape", ["s"], "y"]], { s: [100_000, 100_000] }),
      "[100000, 100000] is over 1000000 numbers",
    ],
    "a product with ones and zeros would be enormous": [
      modelOf(
        [
          ["Unsqueeze", ["x", "axis"], "h"],
          ["Expand", ["h", "shape"], "e"],
          ["Slice", ["e", "start", "end", "axis", "step"], "y"],
        ],
        { axis: [2], shape: [1, 4, 3000], start: [-1], end: [-9999], step: [-1] },
      ),
      "9000000 numbers are over 1000000",
    ],
    "padding is enormous": [
      modelOf([PRODUCT, ["Pad", ["h", "s"], "y", { mode: { text: "edge" } }]], { s: [0, 0, 0, 2 ** 40] }),
      "numbers are over 1000000",
    ],
    "a window is enormous": [
      modelOf(
        [
          ["Unsqueeze", ["x", "s"], "h"],
          [
            "AveragePool",
            ["h"],
            "y",
            { kernel_shape: { ints: [2 ** 40] }, ceil_mode: { int: 1 }, dilations: { ints: [2] } },
          ],
        ],
        { s: [1] },
      ),
      "ONNX op AveragePool",
    ],
    "a shape is none": [modelOf([["ConstantOfShape", ["s"], "y"]], { s: [-1] }), "[-1] is no shape"],
    "an axis is not there": [modelOf([PRODUCT, ["Softmax", ["h"], "y", { axis: { int: 2 } }]]), "there is no axis 2"],
    "an attribute is of another kind": [
      modelOf([PRODUCT, ["Softmax", ["h"], "y", { axis: { float: 1 } }]]),
      "attribute axis is no integer",
    ],
    "batch statistics are trained": [
      modelOf([PRODUCT, ["BatchNormalization", ["h", "w", "w", "w", "w"], "y", { training_mode: { int: 1 } }]]),
      "it takes its statistics from the batch: export the model after model.eval()",
    ],
    "its output is a constant": [
      modelOf([["ConstantOfShape", ["s"], "y"]], { s: [4] }),
      "the ONNX model computes no output y",
    ],
    "the output that is asked for is not there": [
      modelOf([["MatMul", ["x", "w"], "y"]]),
      "the ONNX model computes no output z; its outputs are y",
      { output: "z" },
    ],
    "it is no ONNX model": [new TextEncoder().encode("\x0a\x05hello"), "this is not an ONNX model: it has no graph"],
    "it is empty": [new Uint8Array(0), "this is not an ONNX model"],
    "its opset is too old": [
      Uint8Array.from([...field(7, field(2, [103])), ...field(8, [16, 9])]),
      "the model is of opset 9, read are 13 to 21",
    ],
    "its weights are in another file": [
      Uint8Array.from(field(7, field(5, [8, 1, 16, 1, ...field(8, [119]), 112, 1]))),
      "its numbers are in another file; save the model as one file",
    ],
    "a tensor has fewer numbers than its shape": [
      Uint8Array.from(field(7, field(5, [8, 3, 16, 1, ...field(8, [119]), ...field(9, [0, 0, 0, 0])]))),
      "initializer w: expected 3 numbers, 4 bytes of 4 a number came",
    ],
    "a tensor claims more than any session may have": [
      Uint8Array.from(field(7, field(5, [8, 0x80, 0x80, 0x80, 0x80, 0x10, 16, 1]))),
      "is more than 8000000 numbers in the file",
    ],
    "a field reaches past its message": [Uint8Array.of(7 * 8 + 2, 200, 1, 0), "a field of 200 bytes is cut off"],
  };
  for (const [name, [bytes, complaint, options]] of Object.entries(cases)) {
    it(name, () => {
      expect(() => build(bytes, options)).toThrow(GraphError);
      expect(() => build(bytes, options)).toThrow(complaint);
    });
  }

  it("a sample's prediction depends on the others of its batch", () => {
    // Each sample's attention goes to all of them.
    const to = new ModelWriter();
    to.input("x", "float32", [1, 4]);
    to.initializer(new Float32Array(16).fill(0.5), [4, 4], "w");
    to.node("MatMul", ["x", "w"], "h");
    to.node("Transpose", ["x"], "t", { perm: { ints: [1, 0] } });
    to.node("MatMul", ["h", "t"], "a");
    to.node("MatMul", ["a", "x"], "y");
    to.output("y", "float32", [1, 4]);
    const graph = build(to.finish());
    expect(() => checkIndependence(graph)).toThrow("a sample's prediction depends on the others of its batch");
  });

  it("all that PyTorch exported has passed that test", () => {
    expect(
      checkIndependence(buildGraph({ model: onnxModule(modelFile("rows-batch-4")), loss: loss.mse(), input: [12] })),
    ).toBe(true);
  });
});

describe("an ONNX file cut off anywhere", () => {
  it("is refused with a GraphError", () => {
    const whole = modelFile("residual");
    for (let length = 0; length < whole.length; length++) {
      try {
        parseModel(whole.subarray(0, length));
      } catch (error) {
        expect(error, `${length} bytes`).toBeInstanceOf(GraphError);
      }
    }
  });
});
