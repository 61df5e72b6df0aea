/**
 * The planner decides which values share a kernel, which are computed where they are read, and where memory is used again.
 * These graphs are no networks: random ops on random earlier values, some kept and most not, so that every way of sharing
 * comes up.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { gradientSinks } from "../../client/engine/webgpu/engine.ts";
import { layoutOf } from "../../client/engine/webgpu/layout.ts";
import { planProgram } from "../../client/engine/webgpu/plan.ts";
import {
  broadcast,
  differentiate,
  type Graph,
  IR_VERSION,
  inferShapes,
  type Node,
  type OpAttributes,
  type OpName,
  parameterLength,
  runReference,
  sizeOf,
  type TensorType,
  type TrainingGraph,
  type ValueId,
} from "../../shared/graph/index.ts";
import { buildGraph, loss, nn } from "../../shared/nn/index.ts";
import { openDevice } from "./webgpu-device.ts";
import { numbers, runOnGpu } from "./webgpu-run.ts";

const gpu = await openDevice();

const MICRO_BATCH = 6;

/** Whole numbers in [0, limit) from a seed. */
function chooser(seed: number): (limit: number) => number {
  const values = numbers(seed, 4096);
  let next = 0;
  return (limit) => Math.floor(((values[next++ % values.length] + 1) / 2) * limit);
}

interface Writer {
  readonly types: TensorType[];
  emit<Op extends OpName>(op: Op, inputs: readonly ValueId[], attributes: OpAttributes[Op]): ValueId;
}

const INPUTS = [["N", 8], ["N"], ["N", 5], ["N", 4, 2]] as const;
const PARAMETERS = [[8, 5], [5], [8, 8], [1, 8]] as const;
const SMOOTH = ["Tanh", "Sigmoid", "Softplus", "Neg", "Erf"] as const;
const BINARY = ["Add", "Sub", "Mul", "Max"] as const;

/** Adds one random node; nothing if what was chosen does not fit. */
function grow(to: Writer, pick: (limit: number) => number): void {
  const { types } = to;
  // Mostly late values, so that chains become long.
  const floats = types.flatMap(({ dtype }, id) => (dtype === "float32" ? [id] : []));
  const any = (): ValueId => floats[Math.max(0, floats.length - 1 - Math.min(pick(12), pick(floats.length)))];
  const x = any();
  const { shape } = types[x];
  const rank = shape.length;
  const bounded = (id: ValueId): void => void to.emit("Tanh", [id], {});
  const kinds: (() => void)[] = [
    () => void to.emit(SMOOTH[pick(SMOOTH.length)], [x], {}),
    () => {
      const y = any();
      if (broadcast(shape, types[y].shape) !== null) to.emit(BINARY[pick(BINARY.length)], [x, y], {});
    },
    () => {
      const matrices = floats.filter((id) => types[id].shape.length === 2);
      const y = matrices[pick(matrices.length)];
      const [transA, transB] = [pick(2) === 1, pick(2) === 1];
      if (rank === 2 && shape[transA ? 0 : 1] === types[y].shape[transB ? 1 : 0]) {
        bounded(to.emit("Gemm", [x, y], { transA, transB }));
      }
    },
    () => {
      if (rank > 0) to.emit(pick(2) === 0 ? "Softmax" : "LogSoftmax", [x], { axis: pick(rank) });
    },
    () => {
      const axes = shape.flatMap((_, axis) => (pick(2) === 0 ? [axis] : []));
      if (axes.length === 0) return;
      const attributes = { axes, keepdims: pick(2) === 0 };
      bounded(to.emit(pick(2) === 0 ? "ReduceSum" : "ReduceMax", [x], attributes));
    },
    () => {
      if (rank > 0) to.emit("Reshape", [x], { shape: pick(2) === 0 ? [sizeOf(shape)] : [shape[0], -1] });
    },
    () => {
      if (rank > 1) to.emit("Transpose", [x], { perm: [...shape.keys()].sort(() => pick(2) - 0.5) });
    },
    () => {
      // Of values that are far apart: where two are nearly equal, rounding decides.
      const [a, b] = [0, INPUTS.length + 3];
      const products = to.emit("Mul", [a, b], {});
      to.emit("OneHot", [to.emit("ArgMax", [products], { axis: 1 })], { depth: types[a].shape[1] });
    },
    () => {
      if (rank < 3) to.emit("Expand", [x], { shape: [2, ...shape] });
    },
    () => {
      if (rank === 0) return;
      const axis = pick(rank);
      const size = shape[axis] as number;
      const start = pick(size);
      const steps = size - start > 2 && pick(4) === 0 ? 2 : 1;
      to.emit("Slice", [x], { starts: [start], ends: [start + 1 + pick(size - start)], axes: [axis], steps: [steps] });
    },
    () => {
      // Stacks of matrices, of which operands are often turned, cut, scaled or the same as the other one.
      const stacks = floats.filter((id) => types[id].shape.length >= 2);
      const y = stacks[pick(stacks.length)];
      const [a, b] = [shape, types[y].shape];
      if (rank < 2 || broadcast(a.slice(0, -2), b.slice(0, -2)) === null) return;
      const turned = [...b.keys()].map((axis) => (axis < b.length - 2 ? axis : 2 * b.length - 3 - axis));
      const right =
        a[rank - 1] === b[b.length - 2]
          ? y
          : a[rank - 1] === b[b.length - 1]
            ? to.emit("Transpose", [y], { perm: turned })
            : null;
      if (right === null) return;
      const left = pick(2) === 0 ? x : to.emit("Mul", [x, to.emit("Constant", [], { value: 0.5 })], {});
      bounded(to.emit("MatMul", [left, right], {}));
    },
    () => {
      if (rank > 0 && pick(2) === 0)
        to.emit("Reshape", [x], {
          shape: shape.flatMap((size) => (size === 4 || size === 8 ? [2, (size as number) / 2] : [size as number])),
        });
    },
  ];
  kinds[pick(kinds.length)]();
}

function randomGraph(seed: number, nodes: number): TrainingGraph {
  const pick = chooser(seed);
  const list: Node[] = [];
  let offset = 0;
  const parameters = PARAMETERS.map((shape, index) => {
    const parameter = {
      name: `p${index}`,
      shape,
      offset,
      trainable: true,
      init: { kind: "constant", value: 0 },
    } as const;
    offset += Math.ceil(sizeOf(shape) / 4) * 4;
    return parameter;
  });
  const inputs = INPUTS.map((shape, index) => ({
    name: `i${index}`,
    dtype: "float32" as const,
    shape,
    role: "feature" as const,
  }));
  const graphOf = (): Graph => {
    const last = inputs.length + parameters.length + list.length - 1;
    const outputs = { prediction: last, loss: last, weight: last, metrics: {} };
    return { irVersion: IR_VERSION, inputs, parameters, nodes: list, outputs };
  };
  const types = inferShapes(graphOf(), MICRO_BATCH);
  const writer: Writer = {
    types,
    emit(op, operands, attributes) {
      list.push({ op, inputs: operands, attributes } as unknown as Node);
      types.push(inferShapes(graphOf(), MICRO_BATCH)[types.length]);
      return types.length - 1;
    },
  };
  while (list.length < nodes) grow(writer, pick);
  return { ...graphOf(), gradients: [] };
}

/** |difference| over the largest value, or over 1 if all are smaller. */
function deviation(got: ArrayLike<number>, expected: Float64Array): number {
  let difference = 0;
  let largest = 1;
  for (const [at, value] of expected.entries()) {
    const distance = Math.abs(got[at] - value);
    difference = Math.max(difference, Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance);
    largest = Math.max(largest, Math.abs(value));
  }
  return difference / largest;
}

describe("random graphs of primitive ops", () => {
  const given = fc.record({
    seed: fc.integer({ min: 0, max: 1e6 }),
    nodes: fc.integer({ min: 1, max: 40 }),
    keepEvery: fc.constantFrom(1, 3, 7),
    threads: fc.constantFrom(1, 64, 4096),
    subgroups: fc.boolean(),
  });

  it("give the reference's values, whatever shares a kernel", async () => {
    await fc.assert(
      fc.asyncProperty(given, async ({ seed, nodes, keepEvery, threads, subgroups }) => {
        const graph = randomGraph(seed, nodes);
        const types = inferShapes(graph, MICRO_BATCH);
        const inputs = Object.fromEntries(
          graph.inputs.map(({ name }, index) => [name, numbers(seed + index, sizeOf(types[index].shape))]),
        );
        const weights = numbers(seed + 9, parameterLength(graph));
        const wanted = types.flatMap((_, id) => (id % keepEvery === 0 || id === types.length - 1 ? [id] : []));
        const tuning = { threads, subgroups, workgroup: 64, tile: 256 };
        const got = await runOnGpu(gpu, graph, wanted, { microBatch: MICRO_BATCH, inputs, weights, tuning });
        const expected = runReference(graph, MICRO_BATCH, inputs, weights);
        for (const id of wanted) {
          const node = graph.nodes[id - graph.inputs.length - graph.parameters.length];
          expect(deviation(got.get(id)!, expected[id]), `value ${id} (${node?.op ?? "given"})`).toBeLessThanOrEqual(
            1e-5,
          );
        }
      }),
      { numRuns: 80, seed: 2026 },
    );
  });
});

describe("the plan of a network", () => {
  const model = nn.sequential(
    nn.linear(64, 32),
    nn.gelu(),
    nn.dropout(0.2),
    nn.linear(32, 16),
    nn.relu(),
    nn.linear(16, 10),
  );
  const graph = differentiate(buildGraph({ model, loss: loss.crossEntropy(), input: [64] }), 32);
  const layout = layoutOf(graph, 32);
  const gradients = graph.gradients.flatMap((id, at) =>
    id === null ? [] : [[id, { kind: "gradient", offset: graph.parameters[at].offset }] as const],
  );
  const plan = planProgram(graph, layout, { threads: 64, workgroup: 16, tile: 256 }, gradients);

  it("has a kernel for each product, where a bias's gradient comes with its weight's, and one for the loss", () => {
    expect(plan.kernels).toHaveLength(3 + 2 + 3 + 1);
  });

  it("stores no gradient, and uses memory again", () => {
    const activations = 32 * (32 + 32 + 16 + 10);
    expect(plan.arenaWords).toBeLessThan(activations + 32 * 32 + 32 * 16);
  });

  it("compiles the layers of a transformer once, and makes no more of each than 29 kernels", () => {
    const gpt = (layers: number) => {
      const block = () =>
        nn.transformerBlock(32, 4, { dimFeedforward: 128, dropout: 0.1, normFirst: true, causal: true });
      const model = nn.sequential(nn.embedding(20, 32), ...Array.from({ length: layers }, block), nn.linear(32, 20));
      const x = { dtype: "int32", shape: [16] } as const;
      const made = differentiate(buildGraph({ model, input: { x }, loss: loss.crossEntropy({ classAxis: -1 }) }), 2);
      const { kernels } = planProgram(
        made,
        layoutOf(made, 2),
        { threads: 64, workgroup: 16, tile: 256 },
        gradientSinks(made),
      );
      return { kernels: kernels.length, texts: new Set(kernels.map(({ code }) => code)).size };
    };
    const [three, four] = [gpt(3), gpt(4)];
    expect(four.kernels - three.kernels).toBeLessThanOrEqual(29);
    expect(four.texts).toBe(three.texts);
  });

  it("contains no name from the graph (I10)", () => {
    const renamed = {
      ...graph,
      inputs: graph.inputs.map((input) => ({ ...input, name: `${input.name}; evil` })),
      parameters: graph.parameters.map((parameter) => ({ ...parameter, name: "*/ evil" })),
    };
    const same = planProgram(renamed, layoutOf(renamed, 32), { threads: 64, workgroup: 16, tile: 256 }, gradients);
    expect(same.kernels).toEqual(plan.kernels);
  });

  it("refuses constants that float32 does not hold", () => {
    const infinite: TrainingGraph = {
      irVersion: IR_VERSION,
      inputs: [],
      parameters: [],
      nodes: [{ op: "Constant", inputs: [], attributes: { value: Number.POSITIVE_INFINITY } }],
      outputs: { prediction: 0, loss: 0, weight: 0, metrics: {} },
      gradients: [],
    };
    const tuning = { threads: 64, workgroup: 16, tile: 256 };
    expect(() => planProgram(infinite, layoutOf(infinite, 1), tuning, [[0, { kind: "keep" }]])).toThrow(/float32/);
  });

  it("takes a chain of a thousand ops in no time, and cuts it", () => {
    const nodes = Array.from({ length: 1000 }, (_, index) => ({
      op: "Mul" as const,
      inputs: [index, index],
      attributes: {},
    }));
    const chain: TrainingGraph = {
      irVersion: IR_VERSION,
      inputs: [{ name: "x", dtype: "float32", shape: ["N"], role: "feature" }],
      parameters: [],
      nodes,
      outputs: { prediction: 1000, loss: 1000, weight: 1000, metrics: {} },
      gradients: [],
    };
    const started = performance.now();
    const cut = planProgram(chain, layoutOf(chain, 4), { threads: 64, workgroup: 16, tile: 256 }, [
      [1000, { kind: "keep" }],
    ]);
    expect(performance.now() - started).toBeLessThan(5000);
    for (const { code } of cut.kernels) expect(code.length).toBeLessThan(1e6);
  });
});
