/** Every op's vector–Jacobian product against central differences in float64, on the cases that the backends are tried with. */

import { describe, expect, it } from "vitest";
import { differentiate, type Graph, inferShapes, OPS, type OpName, runReference } from "../../../shared/graph/index.ts";
import { sizeOf } from "../../../shared/graph/tensor.ts";
import { CASES, type Case, describeCase, single } from "../../client/op-cases.ts";
import { numbers } from "../../client/webgpu-run.ts";

/** Piecewise constant, of integers, or of no operand at all. */
const WITHOUT_GRADIENT: readonly OpName[] = [
  "ArgMax",
  "Cast",
  "Constant",
  "ConstantVector",
  "DropoutMask",
  "OneHot",
  "Sign",
];

/** Only backward passes have it, so nobody differentiates it. */
const OF_BACKWARD_PASSES: readonly OpName[] = ["MaxPoolGrad"];

/** Relative to each value, or absolute below 1: where rounding and curvature of the steepest case, softmax of ±200, weigh alike. */
const STEP = 3e-6;

/** Σ cotangent ⊙ op(operands), with every operand of real numbers a parameter. */
function summed<Op extends OpName>(op: Op, given: Case<Op>): Graph {
  const { inputs, nodes, irVersion } = single(op, given);
  const real = inputs.map(({ dtype }) => dtype === "float32");
  const type = inferShapes(single(op, given), 1)[inputs.length];
  const kept = [
    ...inputs.filter((_, at) => !real[at]),
    { name: "cotangent", dtype: "float32" as const, shape: type.shape, role: "feature" as const },
  ];
  let offset = 0;
  const parameters = inputs
    .filter((_, at) => real[at])
    .map(({ name, shape }) => {
      const parameter = {
        name,
        shape: shape as readonly number[],
        offset,
        trainable: true,
        init: { kind: "zeros" as const },
      };
      offset += Math.ceil(sizeOf(parameter.shape) / 4) * 4;
      return parameter;
    });
  const idOf = (at: number): number => {
    const before = real.slice(0, at);
    return real[at] ? kept.length + before.filter((is) => is).length : before.filter((is) => !is).length;
  };
  const first = kept.length + parameters.length;
  const axes = type.shape.map((_, axis) => axis);
  const graph = {
    irVersion,
    inputs: kept,
    parameters,
    nodes: [
      { ...nodes[0], inputs: nodes[0].inputs.map(idOf) },
      { op: "Mul", inputs: [first, kept.length - 1], attributes: {} },
      { op: "ReduceSum", inputs: [first + 1], attributes: { axes, keepdims: false } },
    ],
    outputs: { prediction: first, loss: first + (axes.length > 0 ? 2 : 1), weight: first, metrics: {} },
  } as unknown as Graph;
  return axes.length > 0 ? graph : { ...graph, nodes: graph.nodes.slice(0, 2) };
}

/** Along directions of ±1, one operand at a time: the difference to Σ gradient × direction, relative to the gradient's length. */
function errorOf<Op extends OpName>(op: Op, given: Case<Op>): number {
  const graph = summed(op, given);
  const change = given.values ?? ((value: number) => value * 3);
  const valuesOf = (name: string, shape: readonly number[]): Float64Array => {
    const at = Number(name.slice(1));
    return Float64Array.from(numbers(at + 7, sizeOf(shape)), (value) => change(value, at));
  };
  const inputs = Object.fromEntries(
    graph.inputs.map(({ name, shape }) => [
      name,
      name === "cotangent" ? numbers(5, sizeOf(shape as number[])) : valuesOf(name, shape as number[]),
    ]),
  );
  const last = graph.parameters.at(-1)!;
  const weights = new Float64Array(last.offset + sizeOf(last.shape));
  for (const { name, shape, offset } of graph.parameters) weights.set(valuesOf(name, shape), offset);

  const training = differentiate(graph, 1);
  const values = runReference(training, 1, inputs, weights);
  const lossAt = (at: Float64Array): number => runReference(graph, 1, inputs, at)[graph.outputs.loss][0];
  let worst = 0;
  for (const [index, { shape, offset }] of graph.parameters.entries()) {
    const id = training.gradients[index];
    const gradient = id === null ? new Float64Array(sizeOf(shape)) : values[id];
    for (const seed of [11, 12]) {
      const direction = numbers(seed + index, sizeOf(shape)).map((value) => (value < 0 ? -1 : 1));
      const ends = [1, -1].map((sign) => {
        const moved = weights.slice();
        for (const [at, way] of direction.entries()) {
          moved[offset + at] += sign * way * STEP * Math.max(1, Math.abs(weights[offset + at]));
        }
        return lossAt(moved);
      });
      let expected = 0;
      let length = 0;
      for (const [at, way] of direction.entries()) {
        const step = Math.max(1, Math.abs(weights[offset + at]));
        expected += gradient[at] * way * step;
        length += (gradient[at] * step) ** 2;
      }
      worst = Math.max(
        worst,
        Math.abs((ends[0] - ends[1]) / (2 * STEP) - expected) / Math.max(Math.sqrt(length), 1e-3),
      );
    }
  }
  return worst;
}

const DIFFERENTIABLE = (Object.keys(OPS) as OpName[]).filter(
  (name) => ![...WITHOUT_GRADIENT, ...OF_BACKWARD_PASSES].includes(name),
);

describe("every op's gradient agrees with finite differences", () => {
  for (const op of DIFFERENTIABLE) {
    it(op, () => {
      for (const given of CASES[op] as readonly Case<OpName>[]) {
        expect(errorOf(op, given), describeCase(op, given)).toBeLessThan(1e-6);
      }
    });
  }
});

describe("an op that has no gradient gives none", () => {
  for (const op of WITHOUT_GRADIENT.filter((name) => (CASES[name] as readonly Case<OpName>[])[0].shapes.length > 0)) {
    it(op, () => {
      for (const given of (CASES[op] as readonly Case<OpName>[]).filter(({ integer }) => integer === undefined)) {
        const graph = single(op, given);
        const output = graph.inputs.length;
        expect(
          OPS[op].vjp({
            to: null as never,
            inputs: [0],
            output,
            gradient: output,
            attributes: given.attributes as never,
          }),
        ).toEqual([null]);
      }
    });
  }
});

it.each(OF_BACKWARD_PASSES)("%s in a model is refused when it is differentiated", (op) => {
  const [given] = CASES[op] as readonly Case<OpName>[];
  expect(() => differentiate(summed(op, given), 1)).toThrow(/no gradient of its own/);
});
