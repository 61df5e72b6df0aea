/**
 * `npm run attacks -- [--settings "mean;recommended"] [--attacks "sign flip"] [--shards "shuffled;digits"] [--steps 1000] [--hidden 64]
 * [--lr 0.003] [--seed 0] [--threads 2]`: what 4 liars among 20 clients do to a training on MNIST, by how the coordinator makes a step's
 * gradient of what clients send (docs/security.md). Prints each training, then tables of the worst strength of each attack.
 */

import { once } from "node:events";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { attackNames, type Cell, cellsOf, type Outcome, SETTINGS, tables, trialOf } from "../bench/attacks/grid.ts";

const { values } = parseArgs({
  options: {
    settings: { type: "string", default: "mean;recommended" },
    attacks: { type: "string", default: attackNames.join(";") },
    shards: { type: "string", default: "shuffled;digits" },
    steps: { type: "string", default: "1000" },
    hidden: { type: "string", default: "64" },
    lr: { type: "string", default: "0.003" },
    seed: { type: "string", default: "0" },
    threads: { type: "string", default: "2" },
  },
});

/** The names of a list like `a;b`, all of which are known. */
function chosen<Name extends string>(option: string, list: string, known: readonly Name[]): Name[] {
  return list.split(";").map((wanted) => {
    const name = known.find((each) => each === wanted);
    if (name === undefined) throw new Error(`--${option}: expected some of ${known.join("; ")}, got ${wanted}`);
    return name;
  });
}

const settings = chosen("settings", values.settings, Object.keys(SETTINGS));
const attacks = chosen("attacks", values.attacks, attackNames);
const skews = chosen("shards", values.shards, ["shuffled", "digits"]).map((shards) => shards === "digits");
const shape = {
  hidden: values.hidden.split("-").map(Number),
  steps: Number(values.steps),
  seed: Number(values.seed),
  lr: Number(values.lr),
};

const cells = cellsOf(settings, skews, attacks);
const queue: Cell[] = [...cells];
const outcomes: Outcome[] = [];

async function work(): Promise<void> {
  const worker = new Worker(new URL("../bench/attacks/worker.ts", import.meta.url));
  for (let cell = queue.shift(); cell !== undefined; cell = queue.shift()) {
    worker.postMessage(trialOf(cell, shape));
    const [accuracy] = (await once(worker, "message")) as [number];
    outcomes.push({ ...cell, accuracy });
    const { setting, attack, strength, isSkewed } = cell;
    const lie = attack === null ? "nobody lies" : `${attack} ${strength}`;
    console.log(
      `${outcomes.length}/${cells.length}  ${setting}, ${isSkewed ? "by digits" : "shuffled"}, ${lie}: ${(accuracy * 100).toFixed(2)} %`,
    );
  }
  await worker.terminate();
}

await Promise.all(Array.from({ length: Number(values.threads) }, work));
console.log(`\n${tables(outcomes)}`);
