/**
 * What a way over the line does to a training: the same seeds with everything in 32 bits and with each way, in one process with the
 * real round machine, aggregate and kernels and a real engine, by two clients. Compared is the loss of the last steps, seed by
 * seed: seeds alone spread it.
 */

import { encodeSparse } from "../../shared/codec/index.ts";
import { parameterLength } from "../../shared/graph/index.ts";
import { trainInProcess } from "../../test/parity/in-process.ts";
import { type Claim, type Contestant, type Race, Refusal } from "../harness/race.ts";
import type { MakeProgram, Training } from "./programs.ts";
import { nameOf, PLAIN, type Way } from "./ways.ts";

const CLIENTS = 2;
/** Part of the steps, at the end, whose mean loss is compared. */
const LAST = 1 / 8;
const QUICK_STEPS = 6;
/** Difference to `fixed32` in standard deviations of the seeds. */
const OFF = "|difference| / seeds' spread";

interface Outcome {
  readonly loss: number;
  /** Of one client: of a result's sums and squares, and of a change. */
  readonly bitsUp: number;
  readonly bitsDown: number;
}

async function train(program: ReturnType<MakeProgram>, { codec, downlink }: Way): Promise<Outcome> {
  const parameters = parameterLength(program.graph);
  let [up, results, down, updates] = [0, 0, 0, 0];
  const losses = await trainInProcess({
    ...program,
    codec,
    downlink,
    clients: CLIENTS,
    sent: (_, sums, squares) => {
      up += sums.byteLength + squares * 2;
      results += 1;
    },
    changed: (change) => {
      down += change === null ? parameters * 4 : encodeSparse(change.units).byteLength;
      updates += 1;
    },
  });
  const last = losses.slice(-Math.max(1, Math.round(losses.length * LAST)));
  return {
    loss: last.reduce((sum, value) => sum + value, 0) / last.length,
    bitsUp: (up * 8) / (results * parameters),
    bitsDown: (down * 8) / (updates * parameters),
  };
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function deviation(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / Math.max(1, values.length - 1));
}

/** One round is one seed. */
function contestant(
  way: Way,
  make: MakeProgram,
  steps: number,
  outcomes: Outcome[],
  plain: readonly Outcome[],
): Contestant {
  return {
    name: nameOf(way),
    ours: true,
    prepare: async () => ({}),
    async measure() {
      const outcome = await train(make(outcomes.length, steps), way);
      if (!Number.isFinite(outcome.loss)) throw new Refusal("wrong", `its loss is ${outcome.loss}`);
      outcomes.push(outcome);
      return outcome.loss;
    },
    finish: async () => {
      const differences = outcomes.map(({ loss }, seed) => loss - plain[seed].loss);
      const spread = deviation(plain.map(({ loss }) => loss));
      return {
        difference: mean(differences),
        "its spread": deviation(differences),
        "seeds' spread": spread,
        [OFF]: spread === 0 ? 0 : Math.abs(mean(differences)) / spread,
        "bits up": mean(outcomes.map(({ bitsUp }) => bitsUp)),
        "bits down": mean(outcomes.map(({ bitsDown }) => bitsDown)),
      };
    },
  };
}

export function lossRace(name: string, training: Training, ways: readonly Way[], quick: boolean): Race {
  const make = training.load();
  const steps = quick ? QUICK_STEPS : training.steps;
  const outcomes = ways.map((): Outcome[] => []);
  const plain = outcomes[ways.indexOf(PLAIN)];
  const claims = ways
    .filter(({ recommended }) => recommended && !quick)
    .map((way): Claim => ({ kind: "fact", ours: nameOf(way), fact: OFF, atMost: 1 }));
  const work = `${training.about}: mean loss of the last ${Math.round(LAST * 100)} % of ${steps} steps, two clients, a seed each round`;
  const contestants = ways.map((way, at) => contestant(way, make, steps, outcomes[at], plain));
  return { name: `${name}-loss`, work, unit: "loss", better: "lower", contestants, claims };
}
