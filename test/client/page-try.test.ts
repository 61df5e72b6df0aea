import { describe, expect, it } from "vitest";
import { checkSession, DEFAULT_BUDGET, type SessionReply } from "../../client/core/session.ts";
import { Model, softmax } from "../../client/page/try/model.ts";
import { pictureOf } from "../../client/page/try/picture.ts";
import { readingOf, subjectOf } from "../../client/page/try/subject.ts";
import { blockCount } from "../../shared/codec/index.ts";
import { initialize } from "../../shared/graph/index.ts";
import { defineSession, localData, loss, nn, optim, type SessionOptions } from "../../shared/nn/index.ts";
import { weightsLayout } from "../../shared/protocol/frames.ts";
import { mnistSession } from "../e2e/coordinator.ts";
import { readMnistTraining } from "../fixtures/mnist.ts";

const SIDE = 28;
const SIZE = 280;

/** An image as it is on a sheet of ten times its size, moved by whole sheet pixels. */
function sheetOf(image: Uint8Array, scale = 10, right = 0, down = 0): Uint8Array {
  const ink = new Uint8Array(SIZE * SIZE);
  for (let y = 0; y < SIDE * scale; y++) {
    for (let x = 0; x < SIDE * scale; x++) {
      const at = (y + down) * SIZE + x + right;
      if (y + down < SIZE && x + right < SIZE) ink[at] = image[Math.floor(y / scale) * SIDE + Math.floor(x / scale)];
    }
  }
  return ink;
}

describe("a drawing", () => {
  const { images } = readMnistTraining();
  const imageAt = (at: number): Uint8Array => images.subarray(at * SIDE * SIDE, (at + 1) * SIDE * SIDE);

  it("of a real MNIST image becomes that image", () => {
    for (let at = 0; at < 200; at++) {
      expect(Array.from(pictureOf(sheetOf(imageAt(at)), SIZE, SIDE)), `image ${at}`).toEqual(Array.from(imageAt(at)));
    }
  });

  it("becomes the same picture wherever and however large it was drawn", () => {
    for (let at = 0; at < 20; at++) {
      const small = pictureOf(sheetOf(imageAt(at), 5, 90, 40), SIZE, SIDE);
      expect(Array.from(small), `image ${at}`).toEqual(Array.from(imageAt(at)));
    }
  });

  it("of nothing is an empty picture, and of a dot no blot", () => {
    expect(pictureOf(new Uint8Array(SIZE * SIZE), SIZE, SIDE).every((value) => value === 0)).toBe(true);
    const dot = new Uint8Array(SIZE * SIZE);
    dot[140 * SIZE + 140] = 255;
    expect(pictureOf(dot, SIZE, SIDE).filter((value) => value > 0)).toHaveLength(1);
  });
});

/** A session on two columns of its own. */
const tableSession = (
  options: Pick<SessionOptions, "model" | "loss"> & { target: "uint8" | "float32"; scale?: number },
) =>
  defineSession({
    title: "Table",
    input: [3],
    optimizer: optim.sgd({ lr: 0.1 }),
    data: localData({
      x: { column: "features", scale: 2, offset: 1 },
      y: options.scale === undefined ? "label" : { column: "label", scale: options.scale, offset: 10 },
      columns: [
        { name: "features", dtype: "float32", shape: [3] },
        { name: "label", dtype: options.target, shape: options.target === "uint8" ? [] : [1] },
      ],
      samplesPerEpoch: 8,
    }),
    batchSize: 8,
    epochs: 1,
    model: options.model,
    loss: options.loss,
  });

const linear = nn.linear(3, 1);
const classes = tableSession({ model: nn.sequential(nn.linear(3, 4)), loss: loss.crossEntropy(), target: "uint8" });
const logits = tableSession({ model: nn.sequential(linear), loss: loss.bceWithLogits(), target: "float32" });
const questions = tableSession({
  model: nn.sequential(linear, nn.sigmoid()),
  loss: loss.bce(),
  target: "float32",
});
const numbers = tableSession({ model: nn.sequential(linear), loss: loss.mse(), target: "float32", scale: 4 });

const replyOf = (definition: unknown): SessionReply => ({ definition, manifest: null, progress: {} as never });

/** The model with its initial weights, and those by parameter. */
function open(definition: typeof classes): { model: Model; parameters: Float32Array[] } {
  const session = checkSession(replyOf(definition), DEFAULT_BUDGET);
  const weights = initialize(session.graph, definition.seed);
  const { total, weights: offset } = weightsLayout(blockCount(weights.length), weights.length);
  const body = new Uint8Array(total);
  new Float32Array(body.buffer, offset).set(weights);
  const model = new Model(session);
  model.setWeights(body);
  const parameters = session.graph.parameters.map(({ offset: at, shape }) =>
    weights.subarray(at, at + shape.reduce((size, dimension) => size * dimension, 1)),
  );
  return { model, parameters };
}

const STORED = [0.5, -1, 2];
const SCALED = STORED.map((value) => value * 2 + 1);
const dot = (weights: Float32Array, row: number): number =>
  SCALED.reduce((sum, value, index) => sum + value * weights[row * 3 + index], 0);

describe("a session's network", () => {
  it("takes a drawing for square images of bytes, a form for a few numbers, else nothing", () => {
    const { graph, data } = mnistSession();
    const columns = [
      { name: "image", dtype: "uint8", shape: [784] },
      { name: "label", dtype: "uint8", shape: [] },
    ] as const;
    const binding = { column: "image", scale: 1 / 255, offset: 0 };
    expect(subjectOf(graph, data, columns)).toEqual({ kind: "image", input: "x", side: 28, binding });
    const asFloats = [{ ...columns[0], dtype: "float32" }, columns[1]] as const;
    expect(subjectOf(graph, data, asFloats)).toMatchObject({ kind: "none", why: expect.stringContaining("784") });

    const subject = subjectOf(classes.graph, classes.data, classes.data.source === "local" ? classes.data.columns : []);
    expect(subject.kind === "table" && subject.fields.map(({ label }) => label)).toEqual([
      "features 1",
      "features 2",
      "features 3",
    ]);
  });

  it("is read as its loss says", () => {
    const readings = [classes, logits, questions, numbers].map(({ graph }) => readingOf(graph));
    expect(readings).toEqual(["classes", "logits", "probabilities", "numbers"]);
    expect(readingOf(mnistSession().graph)).toBe("classes");
  });

  it("gives the probabilities of its classes, of values as the data hold them", () => {
    const { model, parameters } = open(classes);
    const [weight, bias] = parameters;
    const expected = softmax(Array.from(bias, (value, row) => value + dot(weight, row)));
    const answer = model.answer({ x: STORED });
    expect(answer.kind).toBe("classes");
    if (answer.kind !== "classes") return;
    expect(answer.probabilities.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 12);
    for (const [index, value] of answer.probabilities.entries()) expect(value).toBeCloseTo(expected[index], 12);
  });

  it.each([logits, questions])("gives the probability of a yes", (definition) => {
    const { model, parameters } = open(definition);
    const [weight, bias] = parameters;
    const answer = model.answer({ x: STORED });
    expect(answer.kind).toBe("probabilities");
    if (answer.kind !== "probabilities") return;
    expect(answer.probabilities[0]).toBeCloseTo(1 / (1 + Math.exp(-(bias[0] + dot(weight, 0)))), 12);
  });

  it("gives numbers in the unit of the stored targets", () => {
    const { model, parameters } = open(numbers);
    const [weight, bias] = parameters;
    const answer = model.answer({ x: STORED });
    expect(answer.kind === "numbers" && answer.values[0]).toBeCloseTo((bias[0] + dot(weight, 0) - 10) / 4, 10);
  });

  it("leaves dropout out", () => {
    const withDropout = tableSession({
      model: nn.sequential(nn.linear(3, 64), nn.dropout(0.5), nn.linear(64, 4)),
      loss: loss.crossEntropy(),
      target: "uint8",
    });
    const without = tableSession({
      model: nn.sequential(nn.linear(3, 64), nn.linear(64, 4)),
      loss: loss.crossEntropy(),
      target: "uint8",
    });
    expect(open(withDropout).model.answer({ x: STORED })).toEqual(open(without).model.answer({ x: STORED }));
  });

  it("refuses weights of another size, and sessions that a volunteer would refuse", () => {
    const { model } = open(classes);
    expect(() => model.setWeights(new Uint8Array(64))).toThrow(/expected/);
    const hostile = { ...classes, graph: { ...classes.graph, nodes: [{ op: "Fetch", inputs: [], attributes: {} }] } };
    expect(() => checkSession(replyOf(hostile), DEFAULT_BUDGET)).toThrow(/bad-graph/);
  });
});
