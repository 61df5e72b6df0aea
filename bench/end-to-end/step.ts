/**
 * A step of a real session beside the same two tabs running freely: what coordination costs. The two take turns in one run.
 */

import type { Contestant, Race } from "../harness/race.ts";
import { summarizeRatios } from "../harness/statistics.ts";
import { LE_NET, mnistSession, type Network, PERCEPTRON } from "./mnist.ts";
import { type LocalCoordinator, Pair, type TabHouse } from "./tabs.ts";

export interface StepWorkload {
  readonly about: string;
  readonly network: Network;
  readonly batch: number;
  /** Steps of a round, and milliseconds of running freely. */
  readonly steps: number;
  readonly milliseconds: number;
  /** Step time over that of the tabs running freely. */
  readonly atMost: number;
}

const SECONDS = 3_000;

export const STEP_WORKLOADS: Readonly<Record<string, StepWorkload>> = {
  "step-mlp": {
    about: "MLP 784-256-128-10",
    network: PERCEPTRON,
    batch: 2048,
    steps: 40,
    milliseconds: SECONDS,
    atMost: 1.5,
  },
  "step-cnn": {
    about: "LeNet-5, a step of 300 ms or more",
    network: LE_NET,
    batch: 2048,
    steps: 6,
    milliseconds: SECONDS,
    atMost: 1.1,
  },
};

export const QUICK_STEP_WORKLOADS: typeof STEP_WORKLOADS = {
  "step-mlp": {
    about: "MLP 784-256-128-10",
    network: PERCEPTRON,
    batch: 128,
    steps: 3,
    milliseconds: 100,
    atMost: 1.5,
  },
};

/** Pictures of an epoch: a whole number of batches, so that all steps are alike. */
const EPOCH = 8192;
const LR = 1e-3;
const RATIO = "step / free";

/** `finished` frees what the race holds. */
export async function stepRace(
  name: string,
  { about, network, batch, steps, milliseconds, atMost }: StepWorkload,
  house: TabHouse,
  coordinator: LocalCoordinator,
): Promise<{ readonly race: Race; readonly finished: () => Promise<void> }> {
  const definition = mnistSession({ network, batchSize: batch, lr: LR, seed: 1, train: EPOCH });
  const pair = await Pair.open(house, coordinator, definition);
  const [session, free]: number[][] = [[], []];
  const noted = async (figures: number[], figure: Promise<number>): Promise<number> => {
    figures.push(await figure);
    return figures[figures.length - 1];
  };
  const stepOf = async (): Promise<number> => (await pair.train(steps + 1)).stepMilliseconds;
  const freeStep = async (): Promise<number> => batch / (await pair.freeRun(milliseconds));
  const contestants: Contestant[] = [
    {
      name: "session",
      ours: true,
      prepare: async () => {
        await pair.train(steps);
        return {};
      },
      measure: () => noted(session, stepOf()),
      finish: async () => ({ [RATIO]: summarizeRatios(session, free).median }),
    },
    {
      name: "running freely",
      ours: false,
      prepare: async () => {
        await pair.prepareFreeRun();
        await pair.freeRun(milliseconds);
        return {};
      },
      measure: () => noted(free, freeStep()),
    },
  ];
  const race: Race = {
    name,
    work: `${about}, batch ${batch} in micro-batches of ${definition.microBatch}; two Chromium tabs, one WASM worker each`,
    unit: "ms a step",
    better: "lower",
    contestants,
    claims: [{ kind: "fact", ours: "session", fact: RATIO, atMost }],
  };
  return { race, finished: () => pair.close() };
}
