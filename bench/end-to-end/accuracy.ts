/**
 * Time to a test accuracy, two cores for everybody: ours over a real coordinator in two tabs of one worker each, and in one tab of
 * two; rivals in one tab with two threads. All have Adam, the same first weights, and the same samples in the same order. A first
 * training finds how many samples it takes: accuracy on the whole test set is looked at after every 5,000 or a little more. A second
 * one from the same weights goes through so many without a stop, and is timed.
 */

import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Tab } from "../../cli/devtools.ts";
import { packageRoot } from "../../cli/root.ts";
import type { LocalCoordinator } from "../harness/local-coordinator.ts";
import { mnistSession, PERCEPTRON } from "../harness/mnist.ts";
import { type Claim, type Contestant, type Race, Refusal } from "../harness/race.ts";
import { BATCHES, BEST, LEARNING_RATES, type Setting } from "./best.ts";
import type { Trained, Trainer } from "./page/trainer.ts";
import { FILES } from "./pictures.ts";
import { ONE_TAB, type Sharing, TabGroup, type TabHouse, TWO_TABS } from "./tabs.ts";

/** Epochs after which nothing is hoped for any more; fewer while settings are tried. */
const EPOCHS = 12;
const SEARCH_EPOCHS = 5;
/** Near the accuracy a seed decides much: of three the middle one counts. */
const SEARCH_SEEDS = [1, 2, 3];
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

/** What is learnt, and how often it is looked at. */
export interface Lesson {
  readonly target: number;
  /** Pictures to learn from, the first ones of the data set, and between two looks at the accuracy. */
  readonly samples: number;
  readonly interval: number;
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

interface Stretch extends Trained {
  /** Learnt from until it stood still: tabs go on for a step or two. */
  readonly all: number;
}

/** One training from the first weights on. */
interface Training {
  train(samples: number): Promise<Stretch>;
  accuracy(): Promise<number>;
  close(): Promise<void>;
}

type StartTraining = (setting: Setting, seed: number, lesson: Lesson) => Promise<Training>;

/** Of a step of ours: enough to divide them by speed, and few, since each costs a pass over all parameters. */
const MICRO_BATCHES = 4;

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
      async train(wanted) {
        const asked = Math.max(LEAST_STEPS, Math.ceil(wanted / setting.batch));
        const { milliseconds, steps } = await tabs.train(asked);
        return { milliseconds, samples: asked * setting.batch, all: steps * setting.batch };
      },
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
      async train(wanted) {
        const trained = await ask<Trained>(tab, "train", wanted);
        return { ...trained, all: trained.samples };
      },
      accuracy: () => ask(tab, "accuracy"),
      close: () => tab.close(),
    };
  };

/** Samples until the accuracy is reached; null if it is not within so many epochs. */
async function learn(
  { target, samples, interval }: Lesson,
  training: Training,
  epochs: number,
): Promise<number | null> {
  let seen = 0;
  while (seen < epochs * samples) {
    seen += (await training.train(interval)).all;
    if ((await training.accuracy()) >= target) return seen;
  }
  return null;
}

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

const OURS: Readonly<Record<string, Sharing>> = { "two tabs": TWO_TABS, "one tab": ONE_TAB };
/** Finds out how many samples a setting takes. */
const SCOUT = "one tab";
const RIVAL_NAMES = ["jax-js WASM", "TensorFlow.js WASM"] as const;

function starters({ house, coordinator, rivals }: AccuracyOptions): Map<string, StartTraining> {
  const found = new Map<string, StartTraining>();
  for (const [name, sharing] of Object.entries(OURS)) found.set(name, startOurs(house, coordinator, sharing));
  if (rivals) for (const name of RIVAL_NAMES) found.set(name, startRival(house, name));
  return found;
}

const describe = ({ batch, lr }: Setting): string => `batch ${batch}, lr ${lr}`;

const SECOND = 1000;

function contestant(name: string, start: StartTraining, lesson: Lesson): Contestant {
  const setting = BEST[name];
  let seed = 0;
  return {
    name,
    ours: name in OURS,
    prepare: async () => ({ batch: setting.batch, lr: setting.lr }),
    async measure() {
      seed += 1;
      const samples = await during(start(setting, seed, lesson), (training) => learn(lesson, training, EPOCHS));
      if (samples === null) {
        throw new Refusal("failed", `${lesson.target} was not reached with ${describe(setting)}, seed ${seed}`);
      }
      const { milliseconds } = await during(start(setting, seed, lesson), (training) => training.train(samples));
      return milliseconds / SECOND;
    },
  };
}

const CLAIMS: readonly Claim[] = Object.keys(OURS).flatMap((ours): Claim[] => [
  { kind: "gain", ours, rival: "TensorFlow.js WASM", atLeast: 3 },
  { kind: "gain", ours, rival: "jax-js WASM", atLeast: 1 },
]);

/** Every round has a seed of its own. */
export function accuracyRace(options: AccuracyOptions): Race {
  const { lesson, rivals } = options;
  return {
    name: "accuracy",
    work: `MNIST 784-256-128-10, Adam, to ${lesson.target * 100} % of the test set; two cores, each at its best batch and learning rate`,
    unit: "s",
    better: "lower",
    contestants: Array.from(starters(options), ([name, start]) => contestant(name, start, lesson)),
    claims: rivals ? CLAIMS : [],
  };
}

/**
 * Says the table of `best.ts`. How many samples it takes to the accuracy depends on batch and learning rate alone, not on who
 * computes: it is found once for every setting, by ours. How long a sample takes is measured for everybody, with every batch.
 */
export async function searchBest(options: AccuracyOptions, say: (line: string) => void): Promise<void> {
  const { lesson } = options;
  const everyone = starters(options);
  const ours = everyone.get(SCOUT);
  if (ours === undefined) return;
  const needed: { readonly setting: Setting; readonly samples: number }[] = [];
  for (const batch of BATCHES) {
    for (const lr of LEARNING_RATES) {
      const setting = { batch, lr };
      const counts: number[] = [];
      for (const seed of SEARCH_SEEDS) {
        const count = await during(ours(setting, seed, lesson), (training) => learn(lesson, training, SEARCH_EPOCHS));
        counts.push(count ?? Number.POSITIVE_INFINITY);
      }
      const samples = counts.toSorted((one, other) => one - other)[Math.floor(counts.length / 2)];
      const tried = counts.map((count) => (Number.isFinite(count) ? count : `over ${SEARCH_EPOCHS} epochs`));
      say(`${describe(setting)}: ${tried.join(", ")} samples`);
      if (Number.isFinite(samples)) needed.push({ setting, samples });
    }
  }
  for (const [name, start] of everyone) {
    const ways: { readonly setting: Setting; readonly seconds: number }[] = [];
    for (const batch of BATCHES) {
      const setting = { batch, lr: LEARNING_RATES[0] };
      const pace = await during(start(setting, SEARCH_SEEDS[0], lesson), async (training) => {
        await training.train(lesson.interval);
        // As long as a training is: of a short one much is its beginning.
        const { milliseconds, samples } = await training.train(lesson.samples);
        return milliseconds / samples;
      });
      say(`${name}, batch ${batch}: ${(pace * SECOND).toFixed(0)} µs a sample`);
      for (const { setting, samples } of needed) {
        if (setting.batch === batch) ways.push({ setting, seconds: (samples * pace) / SECOND });
      }
    }
    const [best] = ways.toSorted((a, b) => a.seconds - b.seconds);
    if (best !== undefined) say(`${name}: best with ${describe(best.setting)}, about ${best.seconds.toFixed(1)} s`);
  }
}
