/**
 * Time to a test accuracy, two cores for everybody: ours over a real coordinator in two tabs of one worker each, and in one tab of
 * two; rivals in one tab with two threads. All have Adam, the same first weights, and the same samples in the same order. How many
 * steps a batch, a learning rate and a seed take is counted once (`steps.ts`), for everybody. A training of so many, without a stop,
 * is timed; then its accuracy is looked at.
 */

import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Tab } from "../../cli/devtools.ts";
import { packageRoot } from "../../cli/root.ts";
import type { LocalCoordinator } from "../harness/local-coordinator.ts";
import { mnistSession, PERCEPTRON } from "../harness/mnist.ts";
import { type Claim, type Contestant, type Race, Refusal } from "../harness/race.ts";
import { BATCHES, BEST, LEARNING_RATES, type Learning, nameIn, type Setting } from "./best.ts";
import type { Trainer } from "./page/trainer.ts";
import { FILES } from "./pictures.ts";
import { stepsTo } from "./steps.ts";
import { ONE_TAB, type Sharing, TabGroup, type TabHouse, TWO_TABS } from "./tabs.ts";

/** Epochs after which nothing is hoped for any more; fewer while settings are tried. */
const EPOCHS = 12;
const SEARCH_EPOCHS = 5;
/** Near the accuracy a seed decides much: while settings are tried, the middle one of three counts. */
const SEEDS = [1, 2, 3];
/** What a trained network's accuracy may be short of the target: sums are rounded otherwise than where steps were counted. */
const SHORT = 0.01;
/** Samples before a pace is measured. */
const WARM_UP = 5_000;
/** Of a stretch: its time is between two of the coordinator's records. */
const LEAST_STEPS = 2;

/** Files of TensorFlow.js that are not bundled. */
const TENSORFLOW = [
  "tfjs-backend-wasm/dist/tf-backend-wasm.es2017.min.js",
  "tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm",
  "tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm",
  "tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm",
] as const;

export const RIVALS_PAGE = {
  trainer: "bench/end-to-end/page/trainer.ts",
  learners: "bench/rivals/learners.ts",
} as const;

/** What is learnt. */
export interface Lesson {
  readonly target: number;
  /** Pictures to learn from: the first ones of the data set. */
  readonly samples: number;
}

/** Puts what rivals load beside their scripts. */
export function serveRivals({ page }: TabHouse): void {
  const folder = join(page.folder, "tensorflow");
  mkdirSync(folder);
  for (const path of TENSORFLOW) {
    copyFileSync(
      join(packageRoot, "bench/rivals/node_modules/@tensorflow", path),
      join(folder, path.split("/").at(-1) ?? ""),
    );
  }
}

/** One training from the first weights on. */
interface Training {
  /** So many steps. Milliseconds. */
  train(steps: number): Promise<number>;
  accuracy(): Promise<number>;
  close(): Promise<void>;
}

type StartTraining = (setting: Setting, seed: number, lesson: Lesson) => Promise<Training>;

/** Of a step of ours: one for each thread that computes, since each costs a pass over all parameters, and equal threads need no others. */
const MICRO_BATCHES = 2;

const definitionOf = ({ batch, lr }: Setting, seed: number, samples: number) =>
  mnistSession({
    network: PERCEPTRON,
    batchSize: batch,
    microBatch: Math.ceil(batch / MICRO_BATCHES),
    lr,
    seed,
    train: samples,
    wire: { codec: "packed8", downlink: "delta" },
  });

const startOurs =
  (house: TabHouse, coordinator: LocalCoordinator, sharing: Sharing): StartTraining =>
  async (setting, seed, { samples }) => {
    const definition = definitionOf(setting, seed, samples);
    // Another training before it: the rivals' pictures are in memory and their code is compiled when the clock starts, too.
    const before = await TabGroup.open(house, coordinator, definition, sharing);
    await before.train(Math.ceil(samples / setting.batch));
    const tabs = await before.move(definition);
    return {
      train: async (steps) => (await tabs.train(Math.max(LEAST_STEPS, steps))).milliseconds,
      accuracy: () => tabs.accuracy(FILES.testImages, FILES.testLabels),
      close: () => tabs.close(),
    };
  };

const ask = <T>(tab: Tab, method: keyof Trainer, ...args: readonly unknown[]): Promise<T> =>
  tab.evaluate<T>(`trainer.${method}(${args.map((arg) => JSON.stringify(arg)).join(", ")})`);

const startRival =
  (house: TabHouse, name: string): StartTraining =>
  async (setting, seed, { samples }) => {
    const tab = await house.tab(`globalThis.trainer?.names.includes(${JSON.stringify(name)})`);
    await ask(tab, "load", FILES);
    await ask(tab, "start", name, definitionOf(setting, seed, samples));
    return {
      train: (steps) => ask(tab, "train", steps),
      accuracy: () => ask(tab, "accuracy"),
      close: () => tab.close(),
    };
  };

async function during<T>(starting: Promise<Training>, use: (training: Training) => Promise<T>): Promise<T> {
  const training = await starting;
  try {
    return await use(training);
  } finally {
    await training.close();
  }
}

export interface AccuracyOptions {
  readonly house: TabHouse;
  readonly coordinator: LocalCoordinator;
  readonly rivals: boolean;
  readonly lesson: Lesson;
}

const OURS = [
  ["two tabs", TWO_TABS],
  ["one tab", ONE_TAB],
] as const satisfies readonly (readonly [Learning, Sharing])[];

/** How many times as long each takes at least. */
const RIVALS = [
  ["jax-js WASM", 1],
  ["TensorFlow.js WASM", 3],
] as const satisfies readonly (readonly [Learning, number])[];

function starters({ house, coordinator, rivals }: AccuracyOptions): Map<Learning, StartTraining> {
  const found = new Map<Learning, StartTraining>();
  for (const [name, sharing] of OURS) found.set(name, startOurs(house, coordinator, sharing));
  if (rivals) for (const [name] of RIVALS) found.set(name, startRival(house, name));
  return found;
}

/** Of a setting and a seed; null if the target is not reached within so many epochs. */
type CountSteps = (setting: Setting, seed: number, epochs: number) => Promise<number | null>;

/** Counts each but once. */
function counter({ coordinator, lesson: { target, samples } }: AccuracyOptions): CountSteps {
  const counts = new Map<string, Promise<number | null>>();
  return (setting, seed, epochs) => {
    const key = JSON.stringify([setting, seed, epochs]);
    const count =
      counts.get(key) ??
      stepsTo(coordinator, definitionOf(setting, seed, samples), target, epochs * Math.ceil(samples / setting.batch));
    counts.set(key, count);
    return count;
  };
}

const describe = ({ batch, lr }: Setting): string => `batch ${batch}, lr ${lr}`;

const SECOND = 1000;

function contestant(
  learner: Learning,
  setting: Setting,
  start: StartTraining,
  count: CountSteps,
  lesson: Lesson,
): Contestant {
  const wanted: number[] = [];
  let round = 0;
  return {
    name: nameIn(learner, setting),
    ours: OURS.some(([name]) => name === learner),
    async prepare() {
      for (const seed of SEEDS) {
        const steps = await count(setting, seed, EPOCHS);
        if (steps === null) {
          throw new Refusal("failed", `${lesson.target} was not reached with ${describe(setting)}, seed ${seed}`);
        }
        wanted.push(steps);
      }
      return { batch: setting.batch, lr: setting.lr };
    },
    async measure() {
      const at = round++ % SEEDS.length;
      return during(start(setting, SEEDS[at], lesson), async (training) => {
        const milliseconds = await training.train(wanted[at]);
        const accuracy = await training.accuracy();
        if (accuracy < lesson.target - SHORT) {
          throw new Refusal("wrong", `accuracy ${accuracy} after ${wanted[at]} steps of seed ${SEEDS[at]}`);
        }
        return milliseconds / SECOND;
      });
    },
  };
}

const CLAIMS: readonly Claim[] = OURS.flatMap(([ours]) =>
  RIVALS.flatMap(([learner, atLeast]) =>
    BEST[learner].map((setting): Claim => ({ kind: "gain", ours, rival: nameIn(learner, setting), atLeast })),
  ),
);

/** Rounds have the seeds in turn. */
export function accuracyRace(options: AccuracyOptions): Race {
  const { lesson, rivals } = options;
  const count = counter(options);
  return {
    name: "accuracy",
    work: `MNIST 784-256-128-10, Adam, to ${lesson.target * 100} % of the test set; two cores, each at its best batch and learning rate`,
    unit: "s",
    better: "lower",
    contestants: Array.from(starters(options), ([learner, start]) =>
      BEST[learner].map((setting) => contestant(learner, setting, start, count, lesson)),
    ).flat(),
    claims: rivals ? CLAIMS : [],
  };
}

/**
 * Says the table of `best.ts`. How many steps it takes to the accuracy is counted once for every setting. How long a step takes is
 * measured for everybody, with every batch.
 */
export async function searchBest(options: AccuracyOptions, say: (line: string) => void): Promise<void> {
  const { lesson } = options;
  const count = counter(options);
  const needed: { readonly setting: Setting; readonly steps: number }[] = [];
  for (const batch of BATCHES) {
    for (const lr of LEARNING_RATES) {
      const setting = { batch, lr };
      const counts: number[] = [];
      for (const seed of SEEDS) counts.push((await count(setting, seed, SEARCH_EPOCHS)) ?? Number.POSITIVE_INFINITY);
      const steps = counts.toSorted((one, other) => one - other)[Math.floor(counts.length / 2)];
      const tried = counts.map((each) => (Number.isFinite(each) ? each : `over ${SEARCH_EPOCHS} epochs`));
      say(`${describe(setting)}: ${tried.join(", ")} steps`);
      if (Number.isFinite(steps)) needed.push({ setting, steps });
    }
  }
  for (const [name, start] of starters(options)) {
    const ways: { readonly setting: Setting; readonly seconds: number }[] = [];
    for (const batch of BATCHES) {
      const setting = { batch, lr: LEARNING_RATES[0] };
      const pace = await during(start(setting, SEEDS[0], lesson), async (training) => {
        await training.train(Math.ceil(WARM_UP / batch));
        // As long as a training is: of a short one much is its beginning.
        const steps = Math.ceil(lesson.samples / batch);
        return (await training.train(steps)) / steps;
      });
      say(`${name}, batch ${batch}: ${pace.toFixed(1)} ms a step`);
      for (const { setting, steps } of needed) {
        if (setting.batch === batch) ways.push({ setting, seconds: (steps * pace) / SECOND });
      }
    }
    const [best] = ways.toSorted((a, b) => a.seconds - b.seconds);
    if (best !== undefined) say(`${name}: best with ${describe(best.setting)}, about ${best.seconds.toFixed(1)} s`);
  }
}
