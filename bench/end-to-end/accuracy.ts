/**
 * Time to a test accuracy, two cores for everybody: ours in two tabs of one worker each over a real coordinator, rivals in one
 * tab with two threads. All have Adam, the same first weights, and the same samples in the same order. Accuracy on the whole
 * test set is looked at after every 10,000 samples or a little more, and the clock stands meanwhile, for all alike.
 */

import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Tab } from "../../cli/devtools.ts";
import { packageRoot } from "../../cli/root.ts";
import { type Claim, type Contestant, type Race, Refusal } from "../harness/race.ts";
import { BATCHES, BEST, LEARNING_RATES, type Setting } from "./best.ts";
import { mnistSession, PERCEPTRON, valuesOf } from "./mnist.ts";
import type { Files, Trainer } from "./page/trainer.ts";
import { type LocalCoordinator, Pair, type TabHouse } from "./tabs.ts";

const INTERVAL = 10_000;
const SAMPLES = 60_000;
/** Epochs after which nothing is hoped for any more. */
const EPOCHS = 12;

/** Files that TensorFlow.js loads by itself. */
const TENSORFLOW = [
  "tfjs-core/dist/tf-core.min.js",
  "tfjs-backend-wasm/dist/tf-backend-wasm.min.js",
  "tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm",
  "tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm",
  "tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm",
] as const;

const FILES: Files = {
  images: "/images.bin",
  labels: "/labels.bin",
  testImages: "/testImages.bin",
  testLabels: "/testLabels.bin",
};

export const RIVALS_PAGE = {
  trainer: "bench/end-to-end/page/trainer.ts",
  learners: "bench/rivals/learners.ts",
} as const;

/** Puts what pages load beside their scripts. */
export function serveFiles({ page }: TabHouse, rivals: boolean): void {
  for (const [name, address] of Object.entries(FILES)) {
    writeFileSync(join(page.folder, address), valuesOf(name as keyof Files));
  }
  if (!rivals) return;
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
  /** At least so many samples; answers milliseconds and samples. */
  train(samples: number): Promise<{ readonly milliseconds: number; readonly samples: number }>;
  accuracy(): Promise<number>;
  close(): Promise<void>;
}

type StartTraining = (setting: Setting, seed: number) => Promise<Training>;

const definitionOf = ({ batch, lr }: Setting, seed: number) =>
  mnistSession({ network: PERCEPTRON, batchSize: batch, lr, seed, train: SAMPLES });

const startOurs =
  (house: TabHouse, coordinator: LocalCoordinator): StartTraining =>
  async (setting, seed) => {
    const pair = await Pair.open(house, coordinator, definitionOf(setting, seed));
    return {
      async train(samples) {
        const { milliseconds, steps } = await pair.train(Math.ceil(samples / setting.batch));
        return { milliseconds, samples: steps * setting.batch };
      },
      accuracy: () => pair.accuracy(FILES.testImages, FILES.testLabels),
      close: () => pair.close(),
    };
  };

const ask = <T>(tab: Tab, method: keyof Trainer, ...args: readonly unknown[]): Promise<T> =>
  tab.evaluate<T>(`trainer.${method}(${args.map((arg) => JSON.stringify(arg)).join(", ")})`);

const startRival =
  (house: TabHouse, name: string): StartTraining =>
  async (setting, seed) => {
    const tab = await house.tab(`globalThis.trainer?.names.includes(${JSON.stringify(name)})`);
    await ask(tab, "load", FILES);
    await ask(tab, "start", name, definitionOf(setting, seed));
    return {
      async train(samples) {
        return { milliseconds: await ask<number>(tab, "train", samples), samples };
      },
      accuracy: () => ask(tab, "accuracy"),
      close: () => tab.close(),
    };
  };

/** Milliseconds until the accuracy is reached; null if it is not within the limit. */
async function timeTo(target: number, training: Training, limit: number): Promise<number | null> {
  let milliseconds = 0;
  for (let samples = 0; samples < EPOCHS * SAMPLES && milliseconds < limit; ) {
    const done = await training.train(INTERVAL);
    milliseconds += done.milliseconds;
    samples += done.samples;
    if ((await training.accuracy()) >= target) return milliseconds;
  }
  return null;
}

async function trial(start: StartTraining, setting: Setting, seed: number, target: number, limit: number) {
  const training = await start(setting, seed);
  try {
    return await timeTo(target, training, limit);
  } finally {
    await training.close();
  }
}

export interface AccuracyOptions {
  readonly house: TabHouse;
  readonly coordinator: LocalCoordinator;
  readonly rivals: boolean;
  readonly target: number;
}

const OURS = "two tabs";
const RIVAL_NAMES = ["jax-js WASM", "TensorFlow.js WASM"] as const;

function starters({ house, coordinator, rivals }: AccuracyOptions): Map<string, StartTraining> {
  const found = new Map([[OURS, startOurs(house, coordinator)]]);
  if (rivals) for (const name of RIVAL_NAMES) found.set(name, startRival(house, name));
  return found;
}

const describe = ({ batch, lr }: Setting): string => `batch ${batch}, lr ${lr}`;

const SECOND = 1000;
const LONGEST = 600_000;

function contestant(name: string, start: StartTraining, target: number): Contestant {
  const setting = BEST[name];
  let seed = 0;
  return {
    name,
    ours: name === OURS,
    prepare: async () => ({ batch: setting.batch, lr: setting.lr }),
    async measure() {
      seed += 1;
      const found = await trial(start, setting, seed, target, LONGEST);
      if (found === null)
        throw new Refusal("failed", `${target} was not reached with ${describe(setting)}, seed ${seed}`);
      return found / SECOND;
    },
  };
}

const CLAIMS: readonly Claim[] = [
  { kind: "gain", ours: OURS, rival: "TensorFlow.js WASM", atLeast: 3 },
  { kind: "gain", ours: OURS, rival: "jax-js WASM", atLeast: 1 },
];

/** Every round has a seed of its own. */
export function accuracyRace(options: AccuracyOptions): Race {
  const { target, rivals } = options;
  return {
    name: "accuracy",
    work: `MNIST 784-256-128-10, Adam, to ${target * 100} % of the test set; two cores, each at its best batch and learning rate`,
    unit: "s",
    better: "lower",
    contestants: Array.from(starters(options), ([name, start]) => contestant(name, start, target)),
    claims: rivals ? CLAIMS : [],
  };
}

/** Tries every setting once for everybody, giving up what is slower than the best so far, and prints the table of `best.ts`. */
export async function searchBest(options: AccuracyOptions, say: (line: string) => void): Promise<void> {
  const best: Record<string, Setting> = {};
  for (const [name, start] of starters(options)) {
    let least = LONGEST;
    for (const batch of BATCHES) {
      for (const lr of LEARNING_RATES) {
        const setting = { batch, lr };
        const found = await trial(start, setting, 1, options.target, least);
        say(`${name}, ${describe(setting)}: ${found === null ? "given up" : `${(found / SECOND).toFixed(2)} s`}`);
        if (found === null || found >= least) continue;
        least = found;
        best[name] = setting;
      }
    }
  }
  say(`BEST: ${JSON.stringify(best)}`);
}
