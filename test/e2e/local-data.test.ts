import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAddress } from "../../client/core/address.ts";
import { Volunteer } from "../../client/core/volunteer.ts";
import { nodePlatform } from "../../client/node/platform.ts";
import { defineSession, localData, loss, nn, optim } from "../../shared/nn/index.ts";
import { readMnistTraining } from "../fixtures/mnist.ts";
import { startTestCoordinator, type TestCoordinator, untilDone } from "./coordinator.ts";

const EACH = 3_000;
const HELD_OUT = 2_000;
/** Samples of each volunteer that its traffic is searched for. */
const SEARCHED = 40;

/** The longest run of ink in any of an image's 28 rows: bytes that do not occur by chance. */
function widestStroke(pixels: Uint8Array): Uint8Array {
  let widest = pixels.subarray(0, 0);
  for (let from = 0; from < 784; from++) {
    let to = from;
    while (to < Math.floor(from / 28) * 28 + 28 && pixels[to] > 0) to += 1;
    if (to - from > widest.byteLength) widest = pixels.subarray(from, to);
  }
  return widest;
}

describe("volunteers with data of their own", () => {
  let coordinator: TestCoordinator;
  beforeAll(async () => {
    coordinator = await startTestCoordinator();
  });
  afterAll(() => coordinator?.stop());

  it("learn all ten digits from disjoint labels, and send no sample", async () => {
    const { images, labels } = readMnistTraining();
    const definition = defineSession({
      title: "Two halves",
      model: nn.sequential(nn.linear(784, 48), nn.relu(), nn.linear(48, 10)),
      input: [784],
      loss: loss.crossEntropy(),
      optimizer: optim.adam({ lr: 2e-3 }),
      data: localData({
        x: { column: "image", scale: 1 / 255 },
        y: "label",
        columns: [
          { name: "image", dtype: "uint8", shape: [784] },
          { name: "label", dtype: "uint8", shape: [] },
        ],
        samplesPerEpoch: 2 * EACH,
      }),
      batchSize: 128,
      microBatch: 16,
      // Enough for both halves, also where one machine does far more than the other.
      epochs: 6,
    });
    const { id } = await coordinator.api.createSession(definition);
    // Nobody begins alone: what one of them learns first would depend on which machine is quicker.
    await coordinator.api.control(id, "pause");

    const sent: Uint8Array[] = [];
    /** One volunteer with the first samples of the given digits; everything it sends is kept. */
    const volunteerWith = (digits: readonly number[]): { volunteer: Volunteer; samples: number[] } => {
      const samples: number[] = [];
      for (let at = 0; samples.length < EACH; at++) if (digits.includes(labels[at])) samples.push(at);
      const image = new Uint8Array(EACH * 784);
      for (const [row, at] of samples.entries()) image.set(images.subarray(at * 784, (at + 1) * 784), row * 784);
      const platform = {
        ...nodePlatform,
        openSocket: (url: string, protocols: readonly string[]) => {
          const socket = nodePlatform.openSocket(url, protocols);
          const send = socket.send.bind(socket);
          socket.send = (data) => {
            sent.push(typeof data === "string" ? Buffer.from(data) : data.slice());
            send(data);
          };
          return socket;
        },
      };
      const options = {
        address: parseAddress(`${coordinator.url}/s/${id}`, undefined),
        engine: "wasm",
        workers: 1,
        identity: undefined,
        data: { image, label: Uint8Array.from(samples, (at) => labels[at]) },
        budget: undefined,
        name: undefined,
        share: undefined,
        policies: undefined,
        graphHash: undefined,
        minimumSamples: undefined,
      } as const;
      return { volunteer: new Volunteer(options, platform, () => {}), samples };
    };
    const volunteers = [volunteerWith([0, 1, 2, 3, 4]), volunteerWith([5, 6, 7, 8, 9])];
    const countClients = async () => (await coordinator.api.readSession(id)).progress.clientCount;
    await expect.poll(countClients, { timeout: 30_000 }).toBe(volunteers.length);
    await coordinator.api.control(id, "resume");
    await untilDone(coordinator.api, id);

    // The weights know all ten digits, those of either volunteer included.
    const { parameters } = await coordinator.api.readSession(id);
    const weights = await coordinator.api.readWeights(id, "latest", parameters);
    const correct = new Array<number>(10).fill(0);
    const seen = new Array<number>(10).fill(0);
    const [w1, b1, w2, b2] = definition.graph.parameters.map(({ offset, shape }) =>
      weights.subarray(offset, offset + shape.reduce((size, dimension) => size * dimension, 1)),
    );
    for (let at = 60_000 - HELD_OUT; at < 60_000; at++) {
      const pixels = images.subarray(at * 784, (at + 1) * 784);
      const hidden = Array.from(b1, (bias, unit) => {
        let sum = bias;
        for (let pixel = 0; pixel < 784; pixel++) sum += (w1[unit * 784 + pixel] * pixels[pixel]) / 255;
        return Math.max(0, sum);
      });
      const logits = Array.from(b2, (bias, digit) =>
        hidden.reduce((sum, value, unit) => sum + value * w2[digit * 48 + unit], bias),
      );
      const label = labels[at];
      seen[label] += 1;
      if (logits.indexOf(Math.max(...logits)) === label) correct[label] += 1;
    }
    for (let digit = 0; digit < 10; digit++) {
      expect(correct[digit] / seen[digit], `digit ${digit}`).toBeGreaterThan(0.6);
    }

    // Nothing that either sent holds a row of pixels.
    const traffic = Buffer.concat(sent);
    expect(traffic.byteLength).toBeGreaterThan(1_000_000);
    for (const { samples } of volunteers) {
      const strokes = samples.map((at) => widestStroke(images.subarray(at * 784, (at + 1) * 784)));
      const telling = strokes.filter(({ byteLength }) => byteLength >= 8).slice(0, SEARCHED);
      expect(telling).toHaveLength(SEARCHED);
      for (const stroke of telling) expect(traffic.indexOf(stroke)).toBe(-1);
    }
    for (const { volunteer } of volunteers) await volunteer.finished;
  });
});
