/** Steps of a real session, MNIST by two watched volunteers, and where their time went. */

import type { CoordinatorApi } from "../../cli/api.ts";
import { Child } from "../harness/child.ts";
import { LocalCoordinator } from "../harness/local-coordinator.ts";
import { mnistSession, PERCEPTRON, smallMnist } from "../harness/mnist.ts";
import { Refusal } from "../harness/race.ts";
import type { Order, Report } from "./messages.ts";
import { decisiveTurns, meanStages, meanWait, type StageName, turnsOf } from "./stages.ts";

const VOLUNTEERS = 2;
/** Steps at the beginning that do not count: chunks of the data set are fetched, and code is compiled. */
const WARM_UP = 10;
const QUICK_WARM_UP = 2;
const INTERVAL = 100;
const PATIENCE = 240_000;

const PICTURES = 10_000;

/** examples/mnist.ts, without what is held out, and ended after so many steps, all of them of a whole batch. */
const sessionOf = (maxSteps: number, batchSize: number) =>
  mnistSession({
    network: PERCEPTRON,
    batchSize,
    lr: 2e-3,
    seed: 0,
    train: PICTURES - (PICTURES % batchSize),
    maxSteps,
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
  await using coordinator = await LocalCoordinator.start(smallMnist());
  const volunteers = Array.from({ length: VOLUNTEERS }, () => {
    return new Child<Order, Report>(new URL("./process.ts", import.meta.url));
  });
  try {
    const { api } = coordinator;
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
  }
}
