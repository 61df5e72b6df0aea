/** A real local coordinator (workerd) in a folder of its own, with MNIST, for end-to-end tests. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CoordinatorApi, type SessionMetrics } from "../../cli/api.ts";
import { type Coordinator, type Deployment, startCoordinator } from "../../cli/coordinator.ts";
import { cutDataset, readImageSet } from "../../cli/dataset.ts";
import { openState } from "../../cli/state.ts";
import { dataset, defineSession, loss, type Module, nn, optim, type SessionOptions } from "../../shared/nn/index.ts";
import { mnistFiles } from "../fixtures/mnist.ts";

export interface TestCoordinator {
  readonly api: CoordinatorApi;
  readonly url: string;
  /** Where the Worker hears the address that a client comes from. */
  readonly frontDoor: string;
  /** Of the admin routes. */
  readonly secret: string;
  readonly folder: string;
  stop(): Promise<void>;
}

const { trainImages: images, trainLabels: labels, testImages, testLabels } = mnistFiles;

/** Starts a coordinator on any free port and pushes MNIST. */
export async function startTestCoordinator(deployment?: Deployment): Promise<TestCoordinator> {
  const folder = mkdtempSync(join(tmpdir(), "commonweight-test-"));
  const state = openState(join(folder, "state"));
  const coordinator: Coordinator = await startCoordinator({
    state,
    port: 0,
    say: () => {},
    ...(deployment === undefined ? {} : { deployment }),
  });
  const api = new CoordinatorApi(coordinator.url, state.secret);
  const { manifest, chunks } = cutDataset("mnist", readImageSet({ images, labels, testImages, testLabels }));
  await api.pushDataset(manifest, chunks, () => {});
  return {
    api,
    url: coordinator.url,
    frontDoor: coordinator.frontDoor,
    secret: state.secret,
    folder,
    stop: async () => {
      await coordinator.stop();
      state.release();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** An MLP on MNIST; ReLU unless told otherwise. */
export function mnistSession(options: Partial<SessionOptions> & { activation?: () => Module } = {}) {
  const { activation = nn.relu, ...others } = options;
  return defineSession({
    title: "MNIST",
    model: nn.sequential(nn.linear(784, 64), activation(), nn.linear(64, 32), activation(), nn.linear(32, 10)),
    input: [784],
    loss: loss.crossEntropy(),
    optimizer: optim.adam({ lr: 1e-3 }),
    data: dataset("mnist", {
      x: { column: "image", scale: 1 / 255 },
      y: "label",
      train: [0, 55_000],
      validation: [55_000, 57_000],
      test: [60_000, 62_000],
    }),
    batchSize: 256,
    epochs: 1,
    ...others,
  });
}

/** Waits until the session is done; throws if it is not within `limit` milliseconds. */
export async function untilDone(api: CoordinatorApi, id: string, limit = 240_000): Promise<SessionMetrics> {
  const end = performance.now() + limit;
  for (;;) {
    const { progress } = await api.readSession(id);
    if (progress.stage === "done") return api.readMetrics(id, 0);
    if (progress.status === "failed") throw new Error(`the session failed: ${progress.reason}`);
    if (performance.now() > end)
      throw new Error(`not done after ${limit} ms: step ${progress.step}, ${progress.status}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
