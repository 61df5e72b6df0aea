/**
 * A step of a real session beside the same two tabs running freely: what coordination costs. The two take turns in one run.
 */

import type { LocalCoordinator } from "../harness/local-coordinator.ts";
import { LE_NET, MICRO_BATCH, mnistSession, type Network, PERCEPTRON, type Wire } from "../harness/mnist.ts";
import type { Contestant, Race } from "../harness/race.ts";
import { summarizeRatios } from "../harness/statistics.ts";
import { FILES } from "./pictures.ts";
import { TabGroup, type TabHouse, TWO_TABS } from "./tabs.ts";

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
    steps: 60,
    milliseconds: SECONDS,
    atMost: 1.5,
  },
  "step-cnn": {
    about: "LeNet-5, a step of 300 ms or more",
    network: LE_NET,
    batch: 4096,
    steps: 16,
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

/** Sessions that are timed, by name: what docs/session-file.md recommends, whose tabs also run freely, and everything in 32 bits. */
const SESSIONS: Readonly<Record<string, Wire>> = {
  "session, packed8 up, changes down": { codec: "packed8", downlink: "delta" },
  "session, 32 bits": {},
};
const [CLAIMED] = Object.keys(SESSIONS);
const FREE = "running freely";

export interface StepRace {
  readonly race: Race;
  /** Frees what the race holds. */
  readonly finished: () => Promise<void>;
}

export async function stepRace(
  name: string,
  { about, network, batch, steps, milliseconds, atMost }: StepWorkload,
  house: TabHouse,
  coordinator: LocalCoordinator,
): Promise<StepRace> {
  const pairs: TabGroup[] = [];
  const free: number[] = [];
  const contestants: Contestant[] = [];
  for (const [label, wire] of Object.entries(SESSIONS)) {
    const definition = mnistSession({ network, batchSize: batch, lr: LR, seed: 1, train: EPOCH, wire });
    const pair = await TabGroup.open(house, coordinator, definition, TWO_TABS);
    pairs.push(pair);
    const rounds: number[] = [];
    contestants.push({
      name: label,
      ours: true,
      prepare: async () => {
        await pair.train(steps);
        return {};
      },
      measure: async () => {
        const { stepMilliseconds } = await pair.train(steps + 1);
        rounds.push(stepMilliseconds);
        return stepMilliseconds;
      },
      finish: async () => ({ [RATIO]: summarizeRatios(rounds, free).median }),
    });
  }
  const [pair] = pairs;
  contestants.push({
    name: FREE,
    ours: false,
    prepare: async () => {
      await pair.prepareFreeRun(FILES.testImages, FILES.testLabels);
      await pair.freeRun(milliseconds);
      return {};
    },
    measure: async () => {
      const own = batch / (await pair.freeRun(milliseconds));
      free.push(own);
      return own;
    },
  });
  const race: Race = {
    name,
    work: `${about}, batch ${batch} in micro-batches of ${MICRO_BATCH}; two Chromium tabs, one WASM worker each`,
    unit: "ms a step",
    better: "lower",
    contestants,
    claims: [{ kind: "fact", ours: CLAIMED, fact: RATIO, atMost }],
  };
  return {
    race,
    finished: async () => {
      for (const each of pairs) await each.close();
    },
  };
}
