import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SessionMetrics } from "../../cli/api.ts";
import { parameterLength } from "../../shared/graph/index.ts";
import { type AugmentOptions, dataset, nn, optim, type SessionOptions } from "../../shared/nn/index.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { mnistSession, startTestCoordinator, type TestCoordinator, untilDone } from "./coordinator.ts";
import { nodeFleet } from "./fleets.ts";

const AUGMENT: AugmentOptions = {
  shift: 2,
  crop: { padding: 1, paddingMode: "edge" },
  horizontalFlip: true,
  verticalFlip: true,
  noise: 0.1,
};

const STEPS_PER_EPOCH = 8;
const EPOCHS = 30;

/** A small network that takes steps so large that it gets worse again long before its end. */
const cnn = (augment: AugmentOptions, options: Partial<SessionOptions> = {}): SessionDefinition =>
  mnistSession({
    model: nn.sequential(
      nn.conv2d(1, 4, 3, { padding: 1, stride: 2 }), // [N, 4, 14, 14]
      nn.relu(),
      nn.maxPool2d(2), // [N, 4, 7, 7]
      nn.flatten(),
      nn.dropout(0.25),
      nn.linear(4 * 7 * 7, 10),
    ),
    input: [1, 28, 28],
    optimizer: optim.adam({ lr: 0.05 }),
    data: dataset("mnist", {
      x: { column: "image", scale: 1 / 255, augment },
      y: "label",
      train: [0, 128 * STEPS_PER_EPOCH],
      validation: [55_000, 55_256],
      test: [60_000, 60_256],
    }),
    batchSize: 128,
    microBatch: 16,
    epochs: EPOCHS,
    earlyStopping: { patience: 2 },
    ...options,
  });

interface Trained {
  readonly result: NonNullable<SessionMetrics["result"]>;
  readonly evaluations: readonly unknown[];
  /** Hex SHA-256 of the weights that the session ended with. */
  readonly latest: string;
}

describe("a network with dropout and augmentation, trained by WASM volunteers", () => {
  let coordinator: TestCoordinator;
  beforeAll(async () => {
    coordinator = await startTestCoordinator();
  });
  afterAll(() => coordinator?.stop());

  /** All volunteers are there when the training starts. */
  async function train(definition: SessionDefinition, clients: number): Promise<Trained> {
    const { api, url } = coordinator;
    const { id } = await api.createSession(definition);
    await api.control(id, "pause");
    const members = await Promise.all(
      Array.from({ length: clients }, (_, i) => nodeFleet.start(`${url}/s/${id}`, `volunteer ${i + 1}`)),
    );
    while ((await api.readSession(id)).progress.clientCount < clients) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await api.control(id, "resume");
    const { result, evaluations } = await untilDone(api, id, 60_000);
    await Promise.all(members.map((member) => member.kill()));
    if (result === null) throw new Error("it is done and has no result");
    const weights = await api.readWeights(id, "latest", parameterLength(definition.graph));
    return {
      result,
      evaluations: evaluations.map(({ time: _, ...evaluation }) => evaluation),
      latest: createHash("sha256")
        .update(new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength))
        .digest("hex"),
    };
  }

  it("comes to the same bits with 1 and with 4 of them, and early stopping brings the best weights back (I1, I2)", async () => {
    const one = await train(cnn(AUGMENT), 1);
    expect(one.result.weightsHash).toMatch(/^[0-9a-f]{64}$/);

    const four = await train(cnn(AUGMENT), 4);
    expect(four.result.members.filter(({ samples }) => samples > 0)).toHaveLength(4);
    expect(four.result.weightsHash).toBe(one.result.weightsHash);
    expect(four.evaluations).toEqual(one.evaluations);
    expect(four.latest).toBe(one.latest);

    // It stopped before its end, two evaluations after the best one, and with that one's weights.
    const { bestStep, bestHash, weightsHash } = one.result;
    const validations = one.evaluations.length - 1;
    expect(validations).toBeLessThan(EPOCHS);
    expect(bestStep).toBe((validations - 2) * STEPS_PER_EPOCH);
    expect(one.latest).toBe(bestHash);
    expect(one.latest).not.toBe(weightsHash);

    // The same weights as of a training that was to end there.
    const short = await train(cnn(AUGMENT, { epochs: validations - 2 }), 1);
    expect(short.result.weightsHash).toBe(bestHash);
  });

  it("comes to other bits without the augmentation", async () => {
    const train2Steps = async (augment: AugmentOptions) => train(cnn(augment, { maxSteps: 2 }), 1);
    const [changed, plain] = await Promise.all([train2Steps(AUGMENT), train2Steps({})]);
    expect(changed.result.weightsHash).toMatch(/^[0-9a-f]{64}$/);
    expect(plain.result.weightsHash).toMatch(/^[0-9a-f]{64}$/);
    expect(changed.result.weightsHash).not.toBe(plain.result.weightsHash);
  });
});
