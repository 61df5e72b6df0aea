/**
 * Sessions that attack a volunteer, as what a coordinator would answer: text, for some of it no honest program could write. Each is made
 * of an honest session and a seed.
 */

import { dataset, defineSession, localData, loss, nn, optim } from "../../shared/nn/index.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import type { Chance } from "../coordinator/round/timeline.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Fields = { [key: string]: Json };

export interface Reply {
  definition: Json;
  manifest: Json;
  progress: Json;
}

export interface Attack {
  readonly about: string;
  /** Changes an honest reply, or answers the text that is sent in its place. */
  readonly spoil: (reply: Reply, chance: Chance) => string | undefined;
}

const manifest = {
  format: 1,
  name: "points",
  columns: [
    { name: "x", dtype: "float32", shape: [1, 12, 12] },
    { name: "y", dtype: "int32", shape: [] },
  ],
  samples: 64,
  chunkSamples: 32,
  chunks: ["ab".repeat(32), "cd".repeat(32)],
  splits: {},
};

const PICTURES = defineSession({
  title: "Pictures",
  model: nn.sequential(nn.conv2d(1, 4, 3), nn.relu(), nn.maxPool2d(2), nn.flatten(), nn.linear(100, 10)),
  input: [1, 12, 12],
  loss: loss.crossEntropy({ metrics: ["confusion"] }),
  optimizer: optim.adam(),
  data: dataset("points", { x: "x", y: "y", train: [0, 64] }),
  batchSize: 16,
  microBatch: 4,
  epochs: 2,
});

const TEXT = defineSession({
  title: "Text",
  model: nn.sequential(
    nn.embedding(32, 16),
    nn.transformerBlock(16, 2, { dimFeedforward: 32, dropout: 0.1, causal: true, normFirst: true }),
    nn.linear(16, 32),
  ),
  input: { x: { dtype: "int32", shape: [8] } },
  loss: loss.crossEntropy({ classAxis: -1 }),
  optimizer: optim.sgd({ lr: 0.1 }),
  data: localData({
    x: "x",
    y: "y",
    columns: [
      { name: "x", dtype: "int32", shape: [8] },
      { name: "y", dtype: "int32", shape: [8] },
    ],
    samplesPerEpoch: 64,
  }),
  batchSize: 16,
  microBatch: 4,
  epochs: 2,
});

const progress = {
  type: "progress",
  stage: "train",
  status: "running",
  reason: "",
  step: 0,
  totalSteps: 8,
  epoch: 0,
  version: 1,
  loss: null,
  metrics: {},
  validation: null,
  samplesPerSecond: 0,
  clientCount: 1,
  clients: [],
};

type Column = { readonly name: string; readonly dtype: "float32" | "int32"; readonly shape: readonly number[] };

const columnsOf = (shape: readonly number[], y: Column): readonly Column[] => [
  { name: "x", dtype: "float32", shape },
  y,
];

const own = (shape: readonly number[]) =>
  localData({
    x: "x",
    y: "y",
    columns: columnsOf(shape, { name: "y", dtype: "int32", shape: [] }),
    samplesPerEpoch: 64,
  });

const textOf = (definition: SessionDefinition): string => JSON.stringify({ definition, manifest: null, progress });

export function honestReply(chance: Chance): Reply {
  const isHosted = chance.happens(0.5);
  const reply = { definition: isHosted ? PICTURES : TEXT, manifest: isHosted ? manifest : null, progress };
  return JSON.parse(JSON.stringify(reply)) as Reply;
}

const fieldsOf = (value: Json): Fields => (typeof value === "object" && value !== null ? (value as Fields) : {});
const graphOf = ({ definition }: Reply): Fields => fieldsOf(fieldsOf(definition).graph ?? null);
const listOf = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : []);

/** Every place below a value whose content `wanted` accepts, as something that sets it. */
function places(root: Json, wanted: (value: Json) => boolean): ((value: Json) => void)[] {
  const found: ((value: Json) => void)[] = [];
  const visit = (holder: Json): void => {
    if (typeof holder !== "object" || holder === null) return;
    for (const [key, value] of Object.entries(holder)) {
      if (wanted(value)) {
        found.push((other) => {
          (holder as Fields)[key] = other;
        });
      }
      visit(value);
    }
  };
  visit(root);
  return found;
}

function setSome(root: Json, wanted: (value: Json) => boolean, chance: Chance, make: () => Json): void {
  const all = places(root, wanted);
  for (let count = chance.integer(1, 3); count > 0 && all.length > 0; count--) chance.pick(all)(make());
}

const isNumber = (value: Json): boolean => typeof value === "number";
const isText = (value: Json): boolean => typeof value === "string";

/** Numbers that sizes should not be. */
const SIZES = [0, -1, 0.5, 1e3, 65_536, 1e6, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 + 2, 1e18, 1e300] as const;

const NAMES = [
  "x; } @compute fn main() {",
  "*/ while (true) {} /*",
  "<img src=x onerror=alert(1)>",
  "</script><script>alert(1)</script>",
  "__proto__",
  "constructor",
  "toString",
  "a\u0000b",
  "\ud800",
  "\u202eevil",
  "",
  "n".repeat(100_000),
  `${"$"}{globalThis}`,
  "../../etc/passwd",
  'a"b',
  "a\nb",
] as const;

const ADDRESSES = [
  "https://elsewhere.example/x",
  "//elsewhere.example/x",
  "data:application/octet-stream;base64,AAAA",
  "javascript:alert(1)",
  "file:///etc/passwd",
  "../../../admin",
  "http://user:secret@elsewhere.example/",
  "..%2f..%2fadmin",
] as const;

const WRONG: readonly (() => Json)[] = [
  () => null,
  () => true,
  () => [],
  () => ({}),
  () => "text",
  () => -1,
  () => [[[[[]]]]],
  () => ({ __proto__: null, constructor: 1 }),
];

const deep = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;

/** The honest text, with one value's place taken by something that is no JSON value of ours. */
function textWith(reply: Reply, chance: Chance, by: string): string {
  const mark = "the place of something else";
  chance.pick(places(reply.definition, () => true))(mark);
  return JSON.stringify(reply).replace(`"${mark}"`, () => by);
}

const input = (reply: Reply): Fields => fieldsOf(listOf(graphOf(reply).inputs)[0] ?? null);

/** A session of a seed's sizes that each are small, and whose pooling asks every element about every tap on the way back. */
const dearBackward = (chance: Chance): SessionDefinition => {
  const kernel = chance.pick([64, 256, 512]);
  const side = 2 * (kernel - 1) + kernel;
  const channels = chance.pick([1, 2, 4]);
  return defineSession({
    title: "Pools",
    model: nn.sequential(
      nn.conv2d(1, channels, 1),
      nn.maxPool2d(kernel, { stride: kernel - 1 }),
      nn.flatten(),
      nn.linear(9 * channels, 2),
    ),
    input: [1, side, side],
    loss: loss.crossEntropy(),
    optimizer: optim.adam(),
    data: own([1, side, side]),
    batchSize: 4,
    microBatch: chance.pick([1, 2, 4]),
    epochs: 1,
  });
};

/** One value of very many, by a graph of three nodes: few threads have something to do, and each of them for ever. */
const longSum = (chance: Chance): SessionDefinition => {
  const length = chance.pick([2_000_000, 3_000_000]);
  const graph = {
    irVersion: 1,
    inputs: [
      { name: "x", dtype: "float32", shape: ["N", length], role: "feature" },
      { name: "y", dtype: "float32", shape: ["N", 1], role: "target" },
      { name: "weight", dtype: "float32", shape: ["N"], role: "weight" },
    ],
    parameters: [{ name: "w", shape: [1], offset: 0, trainable: true, init: { kind: "constant", value: 0 } }],
    nodes: [
      { op: "Mul", inputs: [0, 3], attributes: {} }, // 4: [N, length]
      { op: "Reshape", inputs: [4], attributes: { shape: [1, -1] } }, // 5
      { op: "Reshape", inputs: [0], attributes: { shape: [-1, 1] } }, // 6
      { op: "MatMul", inputs: [5, 6], attributes: {} }, // 7: [1, 1]
      { op: "Sub", inputs: [1, 7], attributes: {} }, // 8: [N, 1]
      { op: "Reshape", inputs: [8], attributes: { shape: [-1] } }, // 9: [N]
      { op: "Mul", inputs: [9, 2], attributes: {} }, // 10: [N]
      { op: "ReduceSum", inputs: [10], attributes: { axes: [0], keepdims: false } }, // 11
      { op: "ReduceSum", inputs: [2], attributes: { axes: [0], keepdims: false } }, // 12
    ],
    outputs: { prediction: 8, loss: 11, weight: 12, metrics: {} },
  };
  const data = { ...own([length]), columns: columnsOf([length], { name: "y", dtype: "float32", shape: [1] }) };
  return { ...TEXT, graph: graph as never, data: data as never, microBatch: chance.pick([8, 16]), batchSize: 16 };
};

export const ATTACKS: Readonly<Record<string, Attack>> = {
  "dear gradients": {
    about: "forward passes within any budget, whose backward passes are not",
    spoil: (_, chance) => textOf(dearBackward(chance)),
  },
  "long sums": {
    about: "sums that a graphics card cannot share among its threads",
    spoil: (_, chance) => textOf(longSum(chance)),
  },
  "huge parameters": {
    about: "shapes whose product is beyond memory, or beyond what a number holds",
    spoil: (reply, chance) => {
      for (const parameter of listOf(graphOf(reply).parameters)) {
        const shape = listOf(fieldsOf(parameter).shape);
        if (chance.happens(0.5)) shape[chance.integer(0, Math.max(0, shape.length - 1))] = chance.pick(SIZES);
      }
      return undefined;
    },
  },
  "huge values": {
    about: "inputs so large that what is computed of them has no room",
    spoil: (reply, chance) => {
      const shape = listOf(input(reply).shape);
      for (let axis = 1; axis < shape.length; axis++) if (chance.happens(0.7)) shape[axis] = chance.pick(SIZES);
      return undefined;
    },
  },
  "endless work": {
    about: "micro-batches, epochs, steps and samples without end",
    spoil: (reply, chance) => {
      const definition = fieldsOf(reply.definition);
      for (const name of ["microBatch", "batchSize", "epochs", "maxSteps"]) {
        if (chance.happens(0.6)) definition[name] = chance.pick(SIZES);
      }
      const data = fieldsOf(definition.data ?? null);
      if (chance.happens(0.5) && "samplesPerEpoch" in data) data.samplesPerEpoch = chance.pick(SIZES);
      if (chance.happens(0.5) && "train" in data) data.train = [0, chance.pick(SIZES)];
      return undefined;
    },
  },
  "many nodes": {
    about: "thousands of nodes, each as honest as the others",
    spoil: (reply, chance) => {
      const graph = graphOf(reply);
      const nodes = listOf(graph.nodes);
      const count = chance.pick([1_000, 6_000, 20_000]);
      graph.nodes = Array.from({ length: count }, (_, at) => nodes[at % nodes.length] ?? null);
      return undefined;
    },
  },
  circles: {
    about: "nodes that read themselves, later ones, or nothing that there is",
    spoil: (reply, chance) => {
      const nodes = listOf(graphOf(reply).nodes);
      for (const node of nodes) {
        const inputs = listOf(fieldsOf(node).inputs);
        if (inputs.length > 0 && chance.happens(0.3))
          inputs[0] = chance.pick([nodes.length + 50, -1, 1e9, 0.5, inputs.length + 20]);
      }
      return undefined;
    },
  },
  attributes: {
    about: "kernels, strides, axes and paddings that no operation has",
    spoil: (reply, chance) => {
      setSome(graphOf(reply).nodes ?? null, isNumber, chance, () => chance.pick(SIZES));
      return undefined;
    },
  },
  names: {
    about: "code for shaders and pages in place of names and texts",
    spoil: (reply, chance) => {
      setSome(reply.definition, isText, chance, () => chance.pick(NAMES));
      return undefined;
    },
  },
  keys: {
    about: "fields that objects have by themselves",
    spoil: (reply, chance) => {
      const holder = chance.pick([
        fieldsOf(reply.definition),
        graphOf(reply),
        fieldsOf(graphOf(reply).outputs ?? null),
      ]);
      Object.defineProperty(holder, chance.pick(["__proto__", "constructor", "prototype", "hasOwnProperty"]), {
        value: chance.pick([null, {}, { polluted: true }, "x"]),
        enumerable: true,
      });
      return undefined;
    },
  },
  kinds: {
    about: "values of another kind",
    spoil: (reply, chance) => {
      setSome(
        chance.pick([reply.definition, reply.manifest, reply.progress]),
        () => true,
        chance,
        () => chance.pick(WRONG)(),
      );
      return undefined;
    },
  },
  "other hosts": {
    about: "data, chunks and weights from elsewhere",
    spoil: (reply, chance) => {
      const target = chance.happens(0.5) && reply.manifest !== null ? reply.manifest : fieldsOf(reply.definition).data;
      setSome(target ?? null, isText, chance, () => chance.pick(ADDRESSES));
      if (chance.happens(0.3)) fieldsOf(reply.definition).initialWeights = chance.pick(ADDRESSES);
      return undefined;
    },
  },
  "lies about data": {
    about: "a data set whose sizes are not those of its chunks",
    spoil: (reply, chance) => {
      setSome(reply.manifest ?? reply.definition, isNumber, chance, () => chance.pick(SIZES));
      if (chance.happens(0.3)) {
        fieldsOf(reply.manifest).chunks = Array.from({ length: 20_000 }, () => "ab".repeat(32));
      }
      return undefined;
    },
  },
  "no numbers": {
    about: "numbers that are none, or too large to be one",
    spoil: (reply, chance) =>
      textWith(reply, chance, chance.pick(["1e999", "-1e999", "NaN", "Infinity", "1e-400", "0x10", "01"])),
  },
  depth: {
    about: "values in values, a hundred thousand deep",
    spoil: (reply, chance) => textWith(reply, chance, deep(chance.pick([200, 5_000, 100_000]))),
  },
  length: {
    about: "megabytes where a word is expected",
    spoil: (reply, chance) => textWith(reply, chance, JSON.stringify("long ".repeat(chance.pick([20_000, 700_000])))),
  },
  "no session": {
    about: "something else altogether",
    spoil: (_, chance) =>
      chance.pick([
        "",
        "null",
        "[]",
        "{",
        '"text"',
        "<!doctype html>",
        "{}",
        '{"definition":{},"manifest":null}',
        "\u0000",
      ]),
  },
};
