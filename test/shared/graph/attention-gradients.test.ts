/** Finite differences of the ops that attention needs: every float operand, by way of a graph of that op alone. */

import { describe, expect, it } from "vitest";
import {
  type Graph,
  GraphError,
  IR_VERSION,
  type Node,
  OPS,
  type OpName,
  sizeOf,
} from "../../../shared/graph/index.ts";
import { inferNode } from "../../../shared/graph/shapes.ts";
import { CASES, type Case, describeCase } from "../../client/op-cases.ts";
import { numbers } from "../../client/webgpu-run.ts";
import { automaticGradient, numericGradient, relativeError } from "./finite-differences.ts";

const OPERATIONS = ["MatMul", "Sqrt", "Trilu", "Gather", "GatherGrad"] as const;

/** Small enough for one run an element. */
const isSmall = ({ shapes }: Case<OpName>): boolean => shapes.every((shape) => sizeOf(shape) <= 200);

/** Error of the gradient of Σ op(…) × cotangent by all float operands, which are the parameters. */
function errorOf(op: OpName, given: Case<OpName>): number {
  const { shapes, attributes, integer } = given;
  const isIndex = (at: number): boolean => integer === true || integer === at;
  const inputs: Graph["inputs"][number][] = [];
  const parameters: Graph["parameters"][number][] = [];
  let end = 0;
  for (const [at, shape] of shapes.entries()) {
    if (isIndex(at)) inputs.push({ name: `i${at}`, dtype: "int32", shape, role: "feature" });
    else {
      parameters.push({ name: `p${at}`, shape, offset: end, trainable: true, init: { kind: "constant", value: 0 } });
      end = Math.ceil((end + sizeOf(shape)) / 4) * 4;
    }
  }
  const types = shapes.map((shape, at) => ({ dtype: isIndex(at) ? ("int32" as const) : ("float32" as const), shape }));
  const plain = { op, inputs: types.map((_, at) => at), attributes } as unknown as Node;
  const { shape } = inferNode(plain, 0, types, 1);
  inputs.push({ name: "cotangent", dtype: "float32", shape, role: "feature" });

  let [nextInput, nextParameter] = [0, inputs.length];
  const operands = shapes.map((_, at) => (isIndex(at) ? nextInput++ : nextParameter++));
  const first = inputs.length + parameters.length;
  const axes = shape.map((_, axis) => axis);
  const nodes = [
    { ...plain, inputs: operands },
    { op: "Mul", inputs: [first, inputs.length - 1], attributes: {} },
    ...(axes.length > 0 ? [{ op: "ReduceSum", inputs: [first + 1], attributes: { axes, keepdims: false } }] : []),
  ] as Node[];
  const loss = first + nodes.length - 1;
  const outputs = { prediction: first, loss, weight: loss, metrics: {} };
  const graph: Graph = { irVersion: IR_VERSION, inputs, parameters, nodes, outputs };

  const change = given.values ?? ((value: number) => value);
  const valuesOf = (at: number): Float64Array =>
    Float64Array.from(numbers(at + 11, sizeOf(shapes[at]))).map((value) => change(value, at));
  const weights = new Float64Array(end);
  const fed: Record<string, ArrayLike<number>> = { cotangent: Float64Array.from(numbers(5, sizeOf(shape))) };
  for (const [at] of shapes.entries()) {
    if (isIndex(at)) fed[`i${at}`] = valuesOf(at);
    else weights.set(valuesOf(at), parameters.find(({ name }) => name === `p${at}`)!.offset);
  }
  const sample = { microBatch: 1, inputs: fed, weights };
  return relativeError(automaticGradient(graph, sample), numericGradient(graph, sample));
}

describe("vector–Jacobian products agree with finite differences", () => {
  it.each(OPERATIONS)("%s", (op) => {
    const cases = (CASES[op] as readonly Case<OpName>[]).filter(isSmall);
    expect(cases.length).toBeGreaterThanOrEqual(5);
    for (const given of cases) expect(errorOf(op, given), describeCase(op, given)).toBeLessThan(1e-7);
  });
});

describe("refused with the reason", () => {
  const float = (...shape: number[]) => ({ dtype: "float32" as const, shape });
  const index = (...shape: number[]) => ({ dtype: "int32" as const, shape });
  it.each([
    ["a vector in MatMul", () => OPS.MatMul.infer([float(3), float(3, 2)], {}, 1), "got [3]"],
    ["inner sizes that differ", () => OPS.MatMul.infer([float(2, 3), float(4, 2)], {}, 1), "inner sizes differ: 3 of"],
    [
      "stacks that do not broadcast",
      () => OPS.MatMul.infer([float(2, 3, 4), float(3, 4, 2)], {}, 1),
      "leading axes of [2, 3, 4] and [3, 4, 2]",
    ],
    ["a triangle of a vector", () => OPS.Trilu.infer([float(3)], { upper: true }, 1), "got [3]"],
    ["float indices", () => OPS.Gather.infer([float(3, 2), float(4)], {}, 1), "int32 indices, got float32"],
    ["a table of one number", () => OPS.Gather.infer([float(), index(4)], {}, 1), "got a scalar"],
    [
      "rows that are not the indices'",
      () => OPS.GatherGrad.infer([index(4), float(5, 2)], { depth: 3 }, 1),
      "do not begin with the indices' axes [4]",
    ],
  ] as const)("%s", (_, infer, reason) => {
    expect(infer).toThrow(GraphError);
    expect(infer).toThrow(reason);
  });
});
